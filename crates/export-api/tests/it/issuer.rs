//! A fake `OpenID` Connect issuer: keys, server and tokens.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use export_api::config::{KeySetTimes, OidcSettings};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use p256::pkcs8::EncodePrivateKey;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

/// Audience of the tokens.
pub(crate) const AUDIENCE: &str = "vehicle-exports";

/// A key pair with an id.
pub(crate) struct SigningKey {
    pub(crate) id: String,
    pub(crate) key: EncodingKey,
    pub(crate) public: Jwk,
}

impl SigningKey {
    /// A new key pair for ES256.
    pub(crate) fn new(id: &str) -> Self {
        let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
        let random = [*first.as_bytes(), *second.as_bytes()].concat();
        let secret = p256::SecretKey::from_slice(&random).expect("almost every number is a key");
        Self::of(
            id,
            EncodingKey::from_ec_der(secret.to_pkcs8_der().expect("DER").as_bytes()),
            Algorithm::ES256,
        )
    }

    pub(crate) fn of(id: &str, key: EncodingKey, algorithm: Algorithm) -> Self {
        let mut public = Jwk::from_encoding_key(&key, algorithm).expect("a public key");
        public.common.key_id = Some(id.to_owned());
        Self { id: id.to_owned(), key, public }
    }

    /// A signed token with these claims.
    pub(crate) fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(algorithm) };
        encode(&header, claims, &self.key).expect("a token")
    }
}

/// The configurable answers of the server.
#[derive(Clone)]
struct Answers {
    /// Body, or an error status.
    keys: Arc<Mutex<Result<Vec<u8>, StatusCode>>>,
    description: Arc<Mutex<Value>>,
    fetches: Arc<AtomicUsize>,
}

/// A running issuer.
pub(crate) struct Issuer {
    pub(crate) url: String,
    answers: Answers,
}

impl Issuer {
    /// Starts an issuer without keys.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answers = Answers {
            keys: Arc::new(Mutex::new(Ok(json!({ "keys": [] }).to_string().into_bytes()))),
            description: Arc::new(Mutex::new(json!({ "issuer": &url, "jwks_uri": format!("{url}/keys") }))),
            fetches: Arc::default(),
        };
        let served = answers.clone();
        let router = Router::new().fallback(move |uri: Uri| async move { served.answer(uri.path()) });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, answers }
    }

    /// Publishes these keys.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> =
            keys.iter().map(|key| serde_json::to_value(&key.public).expect("JSON")).collect();
        self.answer_with(Ok(json!({ "keys": keys }).to_string().into_bytes()));
    }

    /// Replaces the answer with the keys.
    pub(crate) fn answer_with(&self, answer: Result<Vec<u8>, StatusCode>) {
        *self.answers.keys.lock().expect("unpoisoned") = answer;
    }

    /// Replaces the configuration document.
    pub(crate) fn set_description(&self, description: Value) {
        *self.answers.description.lock().expect("unpoisoned") = description;
    }

    /// Number of fetches of the keys.
    pub(crate) fn fetches(&self) -> usize {
        self.answers.fetches.load(Ordering::SeqCst)
    }

    /// Settings of a service that accepts its tokens.
    pub(crate) fn settings(&self) -> OidcSettings {
        OidcSettings {
            issuer: self.url.clone(),
            audience: AUDIENCE.to_owned(),
            algorithm: Algorithm::ES256,
            jwks_url: None,
            max_lifetime: Duration::from_hours(24),
            tenant_claim: "tenant".to_owned(),
            vehicles_claim: "vehicles".to_owned(),
            times: KeySetTimes {
                rest: Duration::ZERO,
                rest_after_failure: Duration::ZERO,
                ..KeySetTimes::default()
            },
        }
    }

    /// Claims of a valid token.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "user-7", "exp": get_current_timestamp() + 300,
            "tenant": "acme", "scope": "openid export:read", "vehicles": ["vehicle_0*"],
        })
    }
}

impl Answers {
    fn answer(&self, path: &str) -> axum::response::Response {
        match path {
            "/.well-known/openid-configuration" => {
                self.description.lock().expect("unpoisoned").to_string().into_response()
            }
            "/keys" => {
                self.fetches.fetch_add(1, Ordering::SeqCst);
                match self.keys.lock().expect("unpoisoned").clone() {
                    Ok(body) => body.into_response(),
                    Err(status) => (status, [(header::LOCATION, "/elsewhere")]).into_response(),
                }
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}
