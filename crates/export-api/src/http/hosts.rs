//! With `AUTH=none`: serves only requests for a name of this service, and none that a foreign web
//! page sends.
//!
//! A web page can make its visitor's browser send requests to this service, and with a DNS name
//! that it points at this service's address (DNS rebinding) it can read the answers, too. Such a
//! request names the page's own host. Names without dots and IP addresses cannot be pointed
//! anywhere by a stranger.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use url::{Host, Url};

use crate::config::HttpSettings;
use crate::http::problem::Problem;

/// The names of this service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct OwnHosts(Arc<[String]>);

impl OwnHosts {
    /// The names in the settings.
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        let public = settings.public_base_url.as_ref().and_then(|url| Url::parse(url).ok());
        let public = public.and_then(|url| Some(url.host_str()?.to_ascii_lowercase()));
        let allowed = settings.allowed_hosts.iter().flat_map(|names| names.0.clone());
        Self(allowed.chain(public).collect())
    }

    /// The problem of the request, if it is not one for this service, or comes from a page of
    /// another origin.
    fn check(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(host) = named_host(version, uri, headers)? else { return Ok(()) };
        if !self.is_own(host.host()) {
            return Err(Problem::misdirected());
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let origin = origin.to_str().ok().and_then(|text| Url::parse(text).ok());
        let is_same = origins.next().is_none() && origin.is_some_and(|origin| self.is_same(&origin, &host));
        if is_same { Ok(()) } else { Err(Problem::foreign_origin()) }
    }

    /// Whether a stranger cannot point this name at the service.
    fn is_own(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match Host::parse(&name) {
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) => true,
            Ok(Host::Domain(name)) => {
                !name.contains('.') || name.ends_with(".localhost") || self.is_listed(&name)
            }
            Err(_) => false,
        }
    }

    fn is_listed(&self, name: &str) -> bool {
        self.0.iter().any(|listed| listed == name)
    }

    /// Whether a page of this origin was served by this service under the name in `host`, or under
    /// a listed name (a proxy may have replaced the name).
    fn is_same(&self, origin: &Url, host: &Authority) -> bool {
        let Some(name) = origin.host_str() else { return false };
        let port = |port: Option<u16>| port.filter(|port| ![80, 443].contains(port));
        let is_named = name.eq_ignore_ascii_case(host.host()) && port(origin.port()) == port(host.port_u16());
        is_named || self.is_listed(&name.to_ascii_lowercase())
    }
}

/// The host that the request names. HTTP/1.0 needs none, and no browser speaks it.
fn named_host(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Problem> {
    let invalid = || Problem::malformed("A request needs exactly one valid Host.");
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(invalid());
    }
    let of_header =
        first.map(|host| Authority::try_from(host.as_bytes()).map_err(|_| invalid())).transpose()?;
    match (uri.authority(), of_header) {
        // A proxy may look at one of them and this service at the other.
        (Some(of_uri), Some(of_header)) if *of_uri != of_header => Err(invalid()),
        (Some(host), _) => Ok(Some(host.clone())),
        (None, Some(host)) => Ok(Some(host)),
        (None, None) if version <= Version::HTTP_10 => Ok(None),
        (None, None) => Err(invalid()),
    }
}

/// Middleware that refuses requests for other hosts and from pages of other origins.
pub(crate) async fn refuse_other_hosts(
    State(hosts): State<OwnHosts>,
    request: Request,
    next: Next,
) -> Response {
    match hosts.check(request.version(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use export_settings::from_flags;

    use super::*;

    fn status(host: &[&str], origin: Option<&str>) -> u16 {
        let flags =
            ["--public-base-url=https://Exports.example.com", "--allowed-hosts=one.example,Two.Example"];
        let hosts = OwnHosts::new(&from_flags(&flags).expect("settings"));
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(header::HOST, host.parse().expect("a value"));
        }
        headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().expect("a value"))));
        let uri = Uri::from_static("/export");
        let checked = hosts.check(Version::HTTP_11, &uri, &headers);
        checked.err().map_or(StatusCode::OK, |problem| problem.status()).as_u16()
    }

    #[test]
    fn d2_only_names_that_no_stranger_can_point_here_are_served() {
        for own in [
            "127.0.0.1:3000",
            "localhost",
            "LOCALHOST:3000",
            "app.localhost",
            "[::1]:3000",
            "192.0.2.1",
            "api",
            "api:3000",
            "exports.example.com",
            "EXPORTS.example.com:443",
            "one.example",
            "two.example:1",
            "one.example.",
        ] {
            assert_eq!(status(&[own], None), 200, "{own}");
        }
        for other in [
            "evil.example",
            "evil.example:3000",
            "exports.example.com.evil.example",
            "x.one.example",
            "127.0.0.1.evil.example",
        ] {
            assert_eq!(status(&[other], None), 421, "{other}");
        }
        for malformed in [&[][..], &["a", "b"], &["a", "a"], &[""], &["a b"]] {
            assert_eq!(status(malformed, None), 400, "{malformed:?}");
        }
        let hosts = OwnHosts::new(&export_settings::defaults());
        assert_eq!(hosts.check(Version::HTTP_10, &Uri::from_static("/"), &HeaderMap::new()), Ok(()));
        let absolute = Uri::from_static("http://evil.example/");
        let refused = hosts.check(Version::HTTP_2, &absolute, &HeaderMap::new()).expect_err("another host");
        assert_eq!(refused.status(), 421);
    }

    #[test]
    fn d2_pages_of_other_origins_are_refused() {
        for (host, origin) in [
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("exports.example.com", "https://exports.example.com"),
            ("127.0.0.1:3000", "https://exports.example.com"),
            ("api:80", "http://api"),
        ] {
            assert_eq!(status(&[host], Some(origin)), 200, "{host} {origin}");
        }
        for origin in
            ["https://evil.example", "null", "http://127.0.0.1:8080", "http://localhost:3000", "", "file://"]
        {
            assert_eq!(status(&["127.0.0.1:3000"], Some(origin)), 403, "{origin}");
        }
    }
}
