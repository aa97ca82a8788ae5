//! What is refused says what to do about it, in terms of where the value comes from.

use std::fs;

use super::{
    credentials::{mode, out, world},
    listener::{Answer, Listener},
    world::{Ran, World},
};

/// Version 1, to the first of January 2055.
pub(super) const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBHTCBxAIBAjAKBggqhkjOPQQDAjAaMRgwFgYDVQQDDA9sb3JlY3RsLmV4YW1w
bGUwIBcNMjUxMjAxMDAwMDAwWhgPMjA1NTAxMDEwMDAwMDBaMBoxGDAWBgNVBAMM
D2xvcmVjdGwuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDUDZfN7
7NmbOrmxwEbhW+vLsVS88akAuojFRh2LFd94pSeAf46W/Vr4ExytwsAbSSr4SbOe
6joTtILkwaz8JbQwCgYIKoZIzj0EAwIDSAAwRQIhAIOeKbmnUyI4dSdoqhgZT1pp
3PMM/NCyF4BuDUKEeyQdAiAVaBgZV0mB2t6kHYTj3Ovr6rWcYSgZ3z28lGJRi/Xv
zg==
-----END CERTIFICATE-----
";

fn private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_source_that_gives_no_token_is_told_in_its_own_terms() {
    for (source, value, what, help) in [
        (
            "{ command = [\"./prints\"] }",
            "",
            "printed cannot be used: the value is empty",
            "it is to print the token and nothing else",
        ),
        (
            "{ file = \"OUT/large\" }",
            "",
            "the value is over 64 KiB long",
            "put the token there, alone",
        ),
        (
            "{ env = \"APP_TOKEN\" }",
            "one\ntwo",
            "holds cannot be used: the value holds a line feed",
            "set APP_TOKEN to the token alone",
        ),
        (
            "{ env = \"APP_TOKEN\" }",
            "",
            "the variable APP_TOKEN is not set, or empty",
            "set APP_TOKEN for `lorectl apply`",
        ),
    ] {
        let world = world(&format!("[credentials.app]\nsource = {source}\n"));
        world.program("prints", "#!/bin/sh\necho\n");
        private(&out(&world, "large"), &"x".repeat(70 << 10));
        let call = world.command(["apply", "-y"]).env("APP_TOKEN", value);
        let ran = call.run().exits(1);
        assert!(!ran.stdout.contains("bytes"), "{}", ran.stdout);
        ran.says(what).says(help);
    }
}

#[test]
fn what_nobody_approved_says_how_to_approve_it() {
    let spec = "[credentials.app]\nsource = { command = [\"./prints\"] }\n[credentials.var]\nsource = { env = \"APP_TOKEN\" }\n";
    let world = world(spec);
    world.program("prints", "#!/bin/sh\necho a-token-of-the-app\n");
    let lore = |words: &str| -> Ran {
        let call = world.command(words.split(' '));
        call.env("APP_TOKEN", "a-token-of-a-variable").run()
    };
    lore("apply -y").exits(0);
    for (words, code, what, help) in [
        (
            "credential rotate app",
            "NOT_APPROVED",
            "credential.app was not rotated: nobody approved it",
            "say `lorectl credential rotate app -y`",
        ),
        (
            "credential rotate var -y",
            "HELD",
            "credential.var cannot be rotated from here: the variable APP_TOKEN gives no new value",
            "have its issuer make another token, put that into the variable APP_TOKEN, then `lorectl apply`",
        ),
        (
            "destroy --purge",
            "NOT_APPROVED",
            "nothing was destroyed",
            "say `lorectl destroy --purge -y`",
        ),
    ] {
        let ran = lore(words).exits(3).complains(code);
        assert!(!ran.stderr.contains("plan file"), "{}", ran.stderr);
        ran.says(what).says(help);
    }
}

#[test]
fn an_issuer_that_refuses_a_request_is_told_with_what_to_look_at() {
    let server = Listener::start([Answer::status(404)]);
    let world = world(&format!(
        "[credentials.client]\nsource = {{ env = \"CLIENT\" }}\n[credentials.api]\nsource = {{ oauth2 = {{ token_url = \"{}\", client_id = \"acme\", secret = \"client\" }} }}\n",
        server.url("/token")
    ));
    for (status, at, what, help) in [
        (
            404,
            "2026-02-03T04:05:06Z",
            "there is nothing at that URL",
            "look at the URLs and ids",
        ),
        (
            401,
            "2026-02-04T04:05:06Z",
            "(HTTP 401)",
            "look at what the request is signed with",
        ),
        (
            403,
            "2026-02-05T04:05:06Z",
            "may not do this",
            "have its issuer allow that",
        ),
        (
            500,
            "2026-02-06T04:05:06Z",
            "it answered HTTP 500, which does not tell",
            "",
        ),
    ] {
        server.answer([Answer::status(status)]);
        let call = world.command(["apply", "-y"]).env("LORECTL_NOW", at);
        let ran = call.env("CLIENT", "the-secret-of-a-client").run();
        assert_eq!(ran.status, 1, "{status}: {}", ran.stdout);
        ran.says(what).says(help);
    }
}

#[test]
fn a_place_that_is_taken_says_what_helps() {
    let world = world(
        "[credentials.app]\nsource = { env = \"APP_TOKEN\" }\ndeliver = [{ file = \"OUT/token\" }]\n",
    );
    fs::create_dir(out(&world, "token")).unwrap();
    let lore = |world: &World| {
        let call = world.command(["apply", "-y"]);
        call.env("APP_TOKEN", "a-token-of-the-app").run()
    };
    let place = world.redacted(out(&world, "token").to_str().unwrap());
    let ran = lore(&world).exits(1).says("it is a directory");
    ran.says(&format!("`mv {place} {place}.old`"));
}

#[test]
fn a_certificate_may_be_read_by_all_and_nothing_else() {
    let spec = |provider: &str, deliver: &str| {
        format!(
            "[credentials.tls]\n{provider}source = {{ file = \"OUT/source\" }}\ndeliver = [{{ {deliver} }}]\n"
        )
    };
    let (x509, open) = (
        "provider = \"x509\"\n",
        "file = \"OUT/pem\", mode = \"0644\"",
    );
    let world = world(&spec(x509, open));
    private(&out(&world, "source"), CERTIFICATE);
    let plan = world.run("plan").exits(0);
    assert!(!plan.stdout.contains("is asked"), "{}", plan.stdout);
    plan.says("its own dates tell whether it is live, before it is stored: nobody is asked");
    world.run("apply -y").exits(0);
    assert_eq!(mode(&out(&world, "pem")), 0o644);
    world.run("plan --detailed-exitcode").exits(0);
    // With its key beside it it is a secret.
    let key = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5LWtleQ==\n-----END PRIVATE KEY-----\n";
    private(&out(&world, "source"), &format!("{CERTIFICATE}{key}"));
    let ran = world.run("apply -y").exits(1);
    ran.says("everyone on the host could read it, and it is not a certificate alone")
        .says("write `mode = \"0640\"`");
    assert_eq!(fs::read_to_string(out(&world, "pem")).unwrap(), CERTIFICATE);
    // Of any other credential the spec is refused.
    for (provider, deliver) in [
        ("", open),
        ("provider = \"opaque\"\n", open),
        (
            x509,
            "env_file = \"OUT/env\", name = \"PEM\", mode = \"0644\"",
        ),
    ] {
        let text = spec(provider, deliver).replace("OUT", out(&world, "").to_str().unwrap());
        world.spec(&text);
        let ran = world.refuses("validate", 65, "SPEC_INVALID");
        ran.says("everyone on the host could read the value");
    }
}
