//! `exports webhooks secret`.

use export_testkit::program::{Program, assert_refuses};

/// Base64 of 32 bytes of the value 1.
const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn secret(arguments: &[&str]) -> Program {
    let arguments = [&["webhooks", "secret"], arguments].concat();
    Program::new(env!("CARGO_BIN_EXE_exports"), &arguments, &[("WEBHOOK_SIGNING_KEY", KEY)])
}

#[test]
fn each_tenant_s_secret_is_printed() {
    let secret_of = |tenant: &str| {
        let ended = secret(&["--tenant", tenant]).run();
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        ended.output.trim().to_owned()
    };
    // The same secret as in the test of `export-webhooks`.
    assert_eq!(secret_of("acme"), "whsec_PnvqUnXoxiNu8qoGN9ILfYWZj2ImJGDCeWs1KOrdUSQ=");
    assert_ne!(secret_of("acme"), secret_of("default"));
}

#[test]
fn missing_and_wrong_settings_are_named() {
    let of_acme = || secret(&["--tenant", "acme"]);
    assert_refuses(&of_acme().without("WEBHOOK_SIGNING_KEY"), "WEBHOOK_SIGNING_KEY");
    assert_refuses(&of_acme().with("WEBHOOK_SIGNING_KEY", "hunter2"), "WEBHOOK_SIGNING_KEY");
    assert_refuses(&secret(&["--tenant", "Not a tenant"]), "--tenant");
}
