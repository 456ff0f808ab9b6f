//! Forgives slashes that a path does not need: `/export/` and `//export` mean `/export`.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The only path that ends in a slash: the page's links are relative to it.
const DOCS: &str = "/docs/";

/// Removes empty segments from the path. The path of the documentation page keeps its slash.
pub(crate) fn without_empty_segments(uri: &mut Uri) {
    let path = uri.path();
    let is_plain = !path.contains("//") && (path.len() <= 1 || !path.ends_with('/') || path == DOCS);
    if is_plain || !path.starts_with('/') {
        return;
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut wanted = format!("/{}", segments.join("/"));
    if path.ends_with('/') && segments == ["docs"] {
        wanted.push('/');
    }
    if let Some(query) = uri.query() {
        wanted.push('?');
        wanted.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    let Ok(path_and_query) = wanted.parse::<PathAndQuery>() else { return };
    parts.path_and_query = Some(path_and_query);
    if let Ok(changed) = Uri::from_parts(parts) {
        *uri = changed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b7_empty_segments_are_removed() {
        for (given, expected) in [
            ("/export/", "/export"),
            ("//export", "/export"),
            ("/export//", "/export"),
            ("/export/7/download/?a=/b//", "/export/7/download?a=/b//"),
            ("http://host:1//export/7/", "http://host:1/export/7"),
            ("/export/a%2F%2Fb/", "/export/a%2F%2Fb"),
            ("/", "/"),
            ("//", "/"),
            ("/docs/", "/docs/"),
            ("//docs//", "/docs/"),
            ("/docs", "/docs"),
            ("/export", "/export"),
            ("*", "*"),
        ] {
            let mut uri: Uri = given.parse().expect(given);
            without_empty_segments(&mut uri);
            assert_eq!(uri.to_string(), expected, "{given}");
        }
    }
}
