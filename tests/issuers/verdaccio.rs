//! A registry that answers 200 to garbage: what a negative control must catch.

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
