//! The keys of an issuer: how they are fetched, cached and checked.

use std::time::Duration;

use axum::http::StatusCode;
use export_api::config::{KeySetTimes, OidcSettings};
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::issuer::SigningKey;
use crate::tokens::{Service, with_key};

#[tokio::test]
async fn new_keys_are_fetched_and_removed_keys_are_dropped() {
    let (issuer, old, service) = with_key().await;
    let claims = issuer.claims();
    let of_old = old.sign(Algorithm::ES256, &claims);
    assert_eq!(service.status(&of_old).await, StatusCode::OK);
    let new = SigningKey::new("second");
    issuer.publish(&[&new]);
    assert_eq!(service.status(&new.sign(Algorithm::ES256, &claims)).await, StatusCode::OK);
    assert_eq!(service.status(&of_old).await, StatusCode::UNAUTHORIZED);
}

/// Anyone can send tokens with invented key ids, so they must not cause fetches.
#[tokio::test]
async fn unknown_key_ids_cause_no_repeated_fetches() {
    let (issuer, key, _) = with_key().await;
    let times = KeySetTimes { rest: Duration::from_hours(1), ..issuer.settings().times };
    let service = Service::for_tokens(OidcSettings { times, ..issuer.settings() }).await;
    let claims = issuer.claims();
    for number in 0..20 {
        let unknown = SigningKey::new(&format!("unknown-{number}"));
        assert_eq!(service.status(&unknown.sign(Algorithm::ES256, &claims)).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(service.status(&key.sign(Algorithm::ES256, &claims)).await, StatusCode::OK);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn cached_keys_are_used_while_the_issuer_is_unavailable() {
    let (issuer, key, _) = with_key().await;
    let token = key.sign(Algorithm::ES256, &issuer.claims());
    let unavailable = Err(StatusCode::SERVICE_UNAVAILABLE);
    for (stale, then) in
        [(Duration::from_hours(1), StatusCode::OK), (Duration::ZERO, StatusCode::SERVICE_UNAVAILABLE)]
    {
        issuer.publish(&[&key]);
        let times = KeySetTimes { fresh: Duration::ZERO, stale, ..issuer.settings().times };
        let service = Service::for_tokens(OidcSettings { times, ..issuer.settings() }).await;
        let first = service.status(&token).await;
        assert_eq!(first == StatusCode::OK, stale > Duration::ZERO);
        issuer.answer_with(unavailable.clone());
        assert_eq!(service.status(&token).await, then);
    }
    // An issuer that was never available.
    let service = Service::for_tokens(issuer.settings()).await;
    assert_eq!(service.status(&token).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn invalid_answers_of_the_issuer_are_refused() {
    let (issuer, key, _) = with_key().await;
    let token = key.sign(Algorithm::ES256, &issuer.claims());
    let public = serde_json::to_value(&key.public).expect("JSON");
    let large = json!({ "keys": [&public], "padding": "x".repeat(300 << 10) }).to_string();
    let many = json!({ "keys": vec![&public; 101] }).to_string();
    for answer in [
        Ok(large.into_bytes()),
        Ok(many.into_bytes()),
        Ok(b"hunter2".to_vec()),
        Ok(b"{}".to_vec()),
        Err(StatusCode::FOUND),
        Err(StatusCode::NOT_FOUND),
    ] {
        issuer.answer_with(answer.clone());
        let service = Service::for_tokens(issuer.settings()).await;
        let status = service.status(&token).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{:?}", answer.map(|body| body.len()));
    }
    // Keys of unknown kinds or for other purposes are ignored.
    let mut encryption = public.clone();
    (encryption["kid"], encryption["use"]) = (json!("first"), json!("enc"));
    let mixed = json!({ "keys": [7, { "kty": "moon", "kid": "first" }, encryption, &public] });
    issuer.answer_with(Ok(mixed.to_string().into_bytes()));
    assert_eq!(Service::for_tokens(issuer.settings()).await.status(&token).await, StatusCode::OK);
    // A configuration document of another issuer, or with keys at a URL without TLS.
    let keys = format!("{}/keys", issuer.url);
    for description in [
        json!({ "issuer": "https://elsewhere.example", "jwks_uri": &keys }),
        json!({ "issuer": &issuer.url, "jwks_uri": "http://elsewhere.example/keys" }),
        json!({ "issuer": &issuer.url }),
    ] {
        issuer.set_description(description);
        let status = Service::for_tokens(issuer.settings()).await.status(&token).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let jwks_url = Some(keys.parse().expect("a URL"));
    let service = Service::for_tokens(OidcSettings { jwks_url, ..issuer.settings() }).await;
    assert_eq!(service.status(&token).await, StatusCode::OK, "the configuration document is not needed");
}
