//! A registry that answers 200 to garbage: what a negative control must catch.

use serde_json::json;

use crate::{
    Test,
    server::{Kind, Server},
};

pub const TESTS: &[Test] = &[(
    "verdaccio::garbage_is_answered_200",
    Kind::Verdaccio,
    garbage,
)];

fn garbage() {
    let server = Server::start(Kind::Verdaccio, "", &[]);
    let headers = [("authorization", "Bearer garbage")];
    assert_eq!(server.get("/-/whoami", &headers), (200, json!({})));
}
