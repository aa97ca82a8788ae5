//! A registry that answers 200 to garbage: what a negative control must catch.

use lorectl::effect::http::Method;
use serde_json::json;

use crate::{
    Test,
    home::Home,
    server::{Kind, Server},
};

pub const TESTS: &[Test] = &[
    (
        "verdaccio::garbage_is_answered_200",
        Kind::Verdaccio,
        garbage,
    ),
    (
        "verdaccio::the_program_stores_no_garbage",
        Kind::Verdaccio,
        refused,
    ),
    (
        "verdaccio::a_token_is_live_and_its_list_is_asked",
        Kind::Verdaccio,
        listed,
    ),
];

fn garbage() {
    let server = Server::start(Kind::Verdaccio, "", &[]);
    let headers = [("authorization", "Bearer garbage")];
    assert_eq!(server.get("/-/whoami", &headers), (200, json!({})));
}

fn refused() {
    let server = Server::start(Kind::Verdaccio, "", &[]);
    let spec = format!(
        "[credentials.npm]\nprovider = \"npm\"\nbase_url = \"{}\"\nsource = {{ env = \"NPM\" }}\n",
        server.url("")
    );
    let home = Home::new(&spec, &[("NPM", "npm_garbageThatNobodyEverGaveOut0000000")]);
    home.run("apply -y").exits(1).says("refuses the token");
    assert!(!home.path("state/acme/secrets/npm").exists());
}

fn listed() {
    let server = Server::start(Kind::Verdaccio, "", &[]);
    let kind = ("content-type", "application/json");
    let body = json!({"name": "ada", "password": "s3cret-of-ada"}).to_string();
    let who = "/-/user/org.couchdb.user:ada";
    let (status, told) = server.send(Method::Put, who, &[kind], &body);
    assert_eq!(status, 201, "{told}");
    let session = format!("Bearer {}", told["token"].as_str().unwrap());
    let body = json!({"password": "s3cret-of-ada", "readonly": true, "cidr_whitelist": []});
    let headers = [kind, ("authorization", session.as_str())];
    let made = server.send(
        Method::Post,
        "/-/npm/v1/tokens",
        &headers,
        &body.to_string(),
    );
    let token = made.1["token"].as_str().unwrap();
    let (_, list) = server.get("/-/npm/v1/tokens?perPage=100", &headers[1..]);
    assert_eq!(list["objects"].as_array().unwrap().len(), 1);
    let url = server.url("");
    let spec = format!(
        "[credentials.npm]\nprovider = \"npm\"\nbase_url = \"{url}\"\nsource = {{ env = \"NPM\" }}\n"
    );
    // Its rows show ten characters of a token, which is too little, and no end.
    let home = Home::new(&spec, &[("NPM", token)]);
    home.run("apply -y").exits(0);
    home.run("credential validate npm")
        .exits(0)
        .says("ada")
        .says("no row is surely its own");
}
