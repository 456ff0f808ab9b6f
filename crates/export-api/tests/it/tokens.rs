//! Bearer tokens of an issuer: which are accepted and which are refused.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use export_api::auth::{Authenticator, Caller, authenticate};
use export_api::config::{AccessSettings, KnownCallers, LimitSettings, OidcSettings};
use export_api::http::failures::Failures;
use export_api::http::request_id::identify;
use export_core::access::{AllowedVehicles, Scope};
use export_settings::defaults;
use export_store::{KeyStore, TenantStore, connect};
use export_testkit::services::{Services, UNREACHABLE_MONGODB_URI};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rsa::BigUint;
use rsa::pkcs1::EncodeRsaPrivateKey;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::issuer::{Issuer, SigningKey};

/// The database of all tests in this file.
const DATABASE: &str = "exports_tokens";

/// A service that answers with its caller, and its database, in which no key exists.
pub(crate) struct Service {
    router: Router,
    pub(crate) tenants: TenantStore,
}

impl Service {
    /// A service that accepts the tokens of an issuer.
    pub(crate) async fn for_tokens(oidc: OidcSettings) -> Self {
        // No test stores anything there, except ceilings of tenants that have names of their own.
        Self::on(Services::from_environment().mongodb_uri, oidc).await
    }

    async fn on(mongodb_uri: String, oidc: OidcSettings) -> Self {
        let mongo = connect(&mongodb_uri.into(), "token tests").await.expect("connecting is lazy");
        let key_memory = Duration::from_millis(50);
        let callers = KnownCallers { oidc: Some(Box::new(oidc)), key_memory };
        let (keys, tenants) = (KeyStore::new(&mongo, DATABASE), TenantStore::new(&mongo, DATABASE));
        let auth = Authenticator::new(&AccessSettings::Known(callers), keys, tenants.clone());
        let describe = |Caller(principal): Caller| async move {
            let vehicles = match &principal.vehicles {
                AllowedVehicles::All => Value::Null,
                AllowedVehicles::Like(patterns) => json!(patterns),
            };
            let may: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| principal.may(*scope)).collect();
            Json(
                json!({ "name": principal.name, "tenant": principal.tenant, "may": may, "vehicles": vehicles }),
            )
        };
        let limits = LimitSettings { auth_failures_at_once: NonZeroU32::MAX, ..defaults() };
        let state = (auth.expect("an authenticator"), Failures::new(&limits));
        let layer = from_fn_with_state(state, authenticate);
        let router = Router::new().route("/who", get(describe)).route_layer(layer);
        Self { router: router.layer(from_fn(identify)), tenants }
    }

    async fn request(&self, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::get("/who");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        self.router.clone().oneshot(request).await.expect("an answer")
    }

    async fn answer(&self, token: &str) -> (StatusCode, Value) {
        let response = self.request(&[("authorization", &format!("Bearer {token}"))]).await;
        let status = response.status();
        let challenge = response.headers().get(header::WWW_AUTHENTICATE).cloned();
        assert_eq!(
            challenge.as_ref().and_then(|value| value.to_str().ok()),
            (status == StatusCode::UNAUTHORIZED).then_some("Bearer error=\"invalid_token\"")
        );
        let body = to_bytes(response.into_body(), 64 << 10).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    /// The status of the answer to a request with the token.
    pub(crate) async fn status(&self, token: &str) -> StatusCode {
        self.answer(token).await.0
    }
}

/// An issuer with one key, and a service that accepts its tokens.
pub(crate) async fn with_key() -> (Issuer, SigningKey, Service) {
    let issuer = Issuer::start().await;
    let key = SigningKey::new("first");
    issuer.publish(&[&key]);
    let service = Service::for_tokens(issuer.settings()).await;
    (issuer, key, service)
}

#[tokio::test]
async fn a_token_identifies_the_caller() {
    let (issuer, key, service) = with_key().await;
    let (status, who) = service.answer(&key.sign(Algorithm::ES256, &issuer.claims())).await;
    assert_eq!(status, StatusCode::OK, "{who}");
    let expected = json!({ "name": "oidc:user-7", "tenant": "acme", "may": ["export:read"], "vehicles": ["vehicle_0*"] });
    assert_eq!(who, expected);
    // Several audiences, no scopes.
    let mut claims = issuer.claims();
    claims["aud"] = json!(["other", crate::issuer::AUDIENCE]);
    claims.as_object_mut().expect("an object").remove("scope");
    let (status, who) = service.answer(&key.sign(Algorithm::ES256, &claims)).await;
    assert_eq!((status, &who["may"]), (StatusCode::OK, &json!([])));
    assert_eq!(issuer.fetches(), 1, "keys are cached");
}

#[tokio::test]
async fn tokens_with_wrong_issuer_audience_time_or_subject_are_refused() {
    let (issuer, key, service) = with_key().await;
    let now = get_current_timestamp();
    for (name, value) in [
        ("iss", json!("https://elsewhere.example")),
        ("iss", Value::Null),
        ("aud", json!("another service")),
        ("aud", json!(["another", "service"])),
        ("aud", Value::Null),
        ("exp", json!(now - 120)),
        ("exp", Value::Null),
        ("exp", json!("tomorrow")),
        ("nbf", json!(now + 120)),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("sub", json!("s".repeat(256))),
    ] {
        let mut claims = issuer.claims();
        if value.is_null() {
            claims.as_object_mut().expect("an object").remove(name);
        } else {
            claims[name] = value.clone();
        }
        let status = service.status(&key.sign(Algorithm::ES256, &claims)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}: {value}");
    }
    // Small differences between clocks are tolerated.
    let mut claims = issuer.claims();
    claims["nbf"] = json!(now + 10);
    claims["exp"] = json!(now - 10);
    assert_eq!(service.status(&key.sign(Algorithm::ES256, &claims)).await, StatusCode::OK);
}

#[tokio::test]
async fn wrong_signatures_and_algorithms_are_refused() {
    let (issuer, key, service) = with_key().await;
    let claims = issuer.claims();
    let good = key.sign(Algorithm::ES256, &claims);
    let (message, _) = good.rsplit_once('.').expect("a signature");
    let (_, payload) = message.split_once('.').expect("a payload");

    let other_key = SigningKey::new("first");
    assert_eq!(service.status(&other_key.sign(Algorithm::ES256, &claims)).await, StatusCode::UNAUTHORIZED);
    // {"alg":"none","kid":"first"}, {"alg":"None",…}
    for none in ["eyJhbGciOiJub25lIiwia2lkIjoiZmlyc3QifQ", "eyJhbGciOiJOb25lIiwia2lkIjoiZmlyc3QifQ"] {
        for token in [format!("{none}.{payload}."), format!("{none}.{payload}")] {
            assert_eq!(service.status(&token).await, StatusCode::UNAUTHORIZED, "{token}");
        }
    }
    // Algorithm confusion: the public key used as a shared secret.
    let public = serde_json::to_vec(&key.public).expect("JSON");
    let header = Header { kid: Some("first".to_owned()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&header, &claims, &EncodingKey::from_secret(&public)).expect("a token");
    assert_eq!(service.status(&forged).await, StatusCode::UNAUTHORIZED);
    // A critical extension, and a key inside the token.
    let header = Header {
        kid: Some("first".to_owned()),
        crit: Some(vec!["exp".to_owned()]),
        ..Header::new(Algorithm::ES256)
    };
    let critical = encode(&header, &claims, &key.key).expect("a token");
    assert_eq!(service.status(&critical).await, StatusCode::UNAUTHORIZED);
    let header = Header { kid: None, jwk: Some(other_key.public.clone()), ..Header::new(Algorithm::ES256) };
    let embedded = encode(&header, &claims, &other_key.key).expect("a token");
    assert_eq!(service.status(&embedded).await, StatusCode::UNAUTHORIZED);
    // Without an id, the only key is used.
    let header = Header { kid: None, ..Header::new(Algorithm::ES256) };
    let nameless = encode(&header, &claims, &key.key).expect("a token");
    assert_eq!(service.status(&nameless).await, StatusCode::OK);
    for text in [message, payload, "a", "..", "a.b.c", &format!("{good}x"), &"x".repeat(9_000)] {
        assert_eq!(service.status(text).await, StatusCode::UNAUTHORIZED, "{text}");
    }
}

const RSA_P: &[u8] = b"\
    e01cc410eb48a6655d54464d0aa4bb6da0b872b774a6a9d11ffe480778f0ddb7311a7e902ef9c4b5f75476262ba8176c\
    b35979f014372a1a2829e4136bd001d07c3f3f2e4f25d4c934f63c7109fba2e67628a0dc9a73c6058e6def22dcd50950\
    e711ddc16d5586f2a7fa75ea8494c18083e0b65742f8a0d5e73fb2d970f01947\
";
const RSA_Q: &[u8] = b"\
    b903c47e0995b632f4532cb1f3c199145d5f3ae9c7dfeedc7a92a6b47e29c61b42a07aa95a64fc600999c5a7b01e01c0\
    8cb62ca756527bbcc56078fb0baba5ed38de2d07990ff6300faeadeb6c039a97bf1e507e4e7040fa78db8257c8b112ed\
    5e59c3cd092fe5d4e5b51275d41281072a5e785ebaf3dae3709203133f5159d7\
";

/// The public example key pair of RFC 7515, appendix A.2.
fn rsa_pair() -> SigningKey {
    let prime = |text: &[u8]| BigUint::parse_bytes(text, 16).expect("a number");
    let (p, q) = (prime(RSA_P), prime(RSA_Q));
    let pair = rsa::RsaPrivateKey::from_p_q(p, q, BigUint::from(65_537_u32)).expect("a pair");
    let key = EncodingKey::from_rsa_der(pair.to_pkcs1_der().expect("DER").as_bytes());
    SigningKey::of("rsa", key, Algorithm::RS256)
}

#[tokio::test]
async fn only_the_configured_algorithm_is_accepted() {
    let issuer = Issuer::start().await;
    let (rsa, elliptic) = (rsa_pair(), SigningKey::new("elliptic"));
    issuer.publish(&[&elliptic, &rsa]);
    let settings = OidcSettings { algorithm: Algorithm::RS256, ..issuer.settings() };
    let service = Service::for_tokens(settings).await;
    let claims = issuer.claims();
    assert_eq!(service.status(&rsa.sign(Algorithm::RS256, &claims)).await, StatusCode::OK);
    for refused in [
        rsa.sign(Algorithm::RS512, &claims),
        rsa.sign(Algorithm::PS256, &claims),
        elliptic.sign(Algorithm::ES256, &claims),
    ] {
        assert_eq!(service.status(&refused).await, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_valid_token_without_required_claims_gets_403_with_the_claim() {
    let (issuer, key, service) = with_key().await;
    for (name, value) in [
        ("tenant", json!("No Tenant!")),
        ("tenant", json!(7)),
        ("tenant", json!(["acme"])),
        ("vehicles", json!("vehicle_001")),
        ("vehicles", json!(["a b"])),
        ("vehicles", json!([7])),
        ("vehicles", Value::Null),
    ] {
        let mut claims = issuer.claims();
        claims[name] = value.clone();
        let (status, problem) = service.answer(&key.sign(Algorithm::ES256, &claims)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {value}");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(name)), "{problem}");
    }
}

/// The vehicles of a caller are those of the claim that the operator lets its tenant see. Without
/// the claim they are those of the tenant; all are never granted by leaving something out.
#[tokio::test]
async fn d1_a_token_gets_the_vehicles_of_its_claim_and_of_its_tenant() {
    let (issuer, key, service) = with_key().await;
    let like = |patterns: &[&str]| {
        AllowedVehicles::Like(patterns.iter().map(|text| text.parse().expect("a pattern")).collect())
    };
    let tenant = format!("t-{}", uuid::Uuid::new_v4().simple());
    let token = |vehicles: Option<Value>| {
        let mut claims = issuer.claims();
        claims["tenant"] = json!(tenant);
        match vehicles {
            Some(vehicles) => claims["vehicles"] = vehicles,
            None => drop(claims.as_object_mut().expect("an object").remove("vehicles")),
        }
        key.sign(Algorithm::ES256, &claims)
    };
    let (status, problem) = service.answer(&token(None)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
    assert_eq!(problem["type"], "urn:exports:problem:unusable-token");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("claim vehicles") && detail.contains("exports tenants limit"), "{detail}");

    let tenant: export_core::Tenant = tenant.parse().expect("a tenant");
    for (ceiling, claim, expected) in [
        (like(&["acme_*"]), None, json!(["acme_*"])),
        (like(&["acme_1*"]), Some(json!(["acme_*", "bus_7"])), json!(["acme_1*"])),
        (like(&["bus_*"]), Some(json!(["acme_*", "bus_7"])), json!(["bus_7"])),
        (like(&[]), Some(json!(["*"])), json!([])),
        (AllowedVehicles::All, None, Value::Null),
        (AllowedVehicles::All, Some(json!(["bus_7"])), json!(["bus_7"])),
    ] {
        service.tenants.set_ceiling(&tenant, &ceiling).await.expect("set");
        let token = token(claim.clone());
        // The earlier ceiling is forgotten within the time of the settings.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let (status, who) = service.answer(&token).await;
            if status == StatusCode::OK && who["vehicles"] == expected {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{ceiling:?} {claim:?}: {who}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Tokens that the same issuer makes for the same audience, but not for access, and tokens for a
/// longer time than the settings allow.
#[tokio::test]
async fn d6_only_access_tokens_of_a_bounded_lifetime_are_accepted() {
    let (issuer, key, service) = with_key().await;
    let with_type = |kind: Option<&str>, claims: &Value| {
        let header = Header {
            kid: Some("first".to_owned()),
            typ: kind.map(str::to_owned),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, claims, &key.key).expect("a token")
    };
    let claims = issuer.claims();
    for accepted in [None, Some("JWT"), Some("jwt"), Some("at+jwt"), Some("application/AT+JWT")] {
        assert_eq!(service.status(&with_type(accepted, &claims)).await, StatusCode::OK, "{accepted:?}");
    }
    for refused in ["", "logout+jwt", "dpop+jwt", "secevent+jwt", "id+jwt", "JWE", "JWT "] {
        let token = with_type(Some(refused), &claims);
        assert_eq!(service.status(&token).await, StatusCode::UNAUTHORIZED, "{refused:?}");
    }
    let now = get_current_timestamp();
    let (hour, day) = (3_600, 86_400);
    for (changes, is_accepted) in [
        (json!({ "typ": "Bearer" }), true),
        (json!({ "typ": "ID" }), false),
        (json!({ "typ": "Refresh" }), false),
        (json!({ "typ": 7 }), false),
        (json!({ "at_hash": "x" }), false),
        (json!({ "events": {} }), false),
        (json!({ "iat": now, "exp": now + day }), true),
        (json!({ "iat": now, "exp": now + day + hour }), false),
        (json!({ "exp": now + day + hour }), false),
        (json!({ "iat": now - 30 * day, "exp": now + hour }), false),
        (json!({ "iat": now + hour, "exp": now + 2 * hour }), false),
        (json!({ "iat": "today" }), false),
        (json!({ "exp": u64::MAX }), false),
    ] {
        let mut claims = issuer.claims();
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let expected = if is_accepted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(service.status(&with_type(Some("JWT"), &claims)).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn exactly_one_bearer_header_is_accepted() {
    let (issuer, key, service) = with_key().await;
    let token = key.sign(Algorithm::ES256, &issuer.claims());
    let bearer = format!("Bearer {token}");
    let (lower, basic) = (format!("bearer {token}"), format!("Basic {token}"));
    let (blanks, two) = (format!("Bearer  {token}"), format!("Bearer {token} {token}"));
    for (headers, status, challenge) in [
        (vec![], 401, Some("Bearer")),
        (vec![("authorization", bearer.as_str())], 200, None),
        (vec![("authorization", lower.as_str())], 200, None),
        (vec![("authorization", basic.as_str())], 401, Some("Bearer error=\"invalid_token\"")),
        (vec![("authorization", blanks.as_str())], 401, Some("Bearer error=\"invalid_token\"")),
        (vec![("authorization", two.as_str())], 401, Some("Bearer error=\"invalid_token\"")),
        (vec![("authorization", token.as_str())], 401, Some("Bearer error=\"invalid_token\"")),
        (vec![("authorization", "Bearer ")], 401, Some("Bearer error=\"invalid_token\"")),
        (vec![("authorization", "")], 401, Some("Bearer error=\"invalid_token\"")),
        (vec![("authorization", bearer.as_str()); 2], 401, Some("Bearer error=\"invalid_token\"")),
    ] {
        let response = service.request(&headers).await;
        let actual = response.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        assert_eq!((response.status().as_u16(), actual), (status, challenge), "{headers:?}");
    }
    // API keys are still looked up. Without MongoDB neither they nor tokens can be checked.
    let service = Service::on(UNREACHABLE_MONGODB_URI.to_owned(), issuer.settings()).await;
    assert_eq!(service.request(&[("authorization", &bearer)]).await.status().as_u16(), 503);
    let key = format!("Bearer vxk_0102030405060708_{}", "ab".repeat(32));
    assert_eq!(service.request(&[("authorization", &key)]).await.status().as_u16(), 503);
    let broken = service.request(&[("authorization", "Bearer vxk_0102")]).await;
    assert_eq!(broken.status().as_u16(), 401, "a malformed key is not looked up");
}
