use uuid::Uuid;

use super::*;

fn parse(text: &str) -> Result<ParsedQuery, String> {
    let uri = format!("/export?{text}").parse().map_err(|error| format!("{error}"))?;
    let Query(query) = Query::try_from_uri(&uri).map_err(|rejection| rejection.body_text())?;
    ParsedQuery::parse(query).map_err(|problem| format!("{problem:?}"))
}

fn parsed(text: &str) -> ParsedQuery {
    parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"))
}

#[test]
fn a_query_is_parsed() {
    use JobState::{Finished, Started};
    let all = ParsedQuery {
        states: vec![],
        since: None,
        vehicle: None,
        is_mine: false,
        limit: 20,
        older_than: None,
    };
    assert_eq!(parsed(""), all);
    assert_eq!(parsed("mine=false"), all);
    let filtered = parsed("since=2018-11-30&vehicle=Bus_%C3%BC&mine=true");
    let since = DateTime::from_timestamp(1_543_536_000, 0);
    let expected = ParsedQuery { since, vehicle: "Bus_ü".parse().ok(), is_mine: true, ..all };
    assert_eq!(filtered, expected);
    assert_eq!(parsed("since=2018-11-30T01:00:00.5%2B01:00").filter(), "since=2018-11-30T00%3A00%3A00.500Z");
    let both = ParsedQuery { states: vec![Started, Finished], limit: 100, ..parsed("") };
    for text in ["state=FINISHED,STARTED&limit=100", "limit=100&state=STARTED%2CFINISHED,STARTED"] {
        assert_eq!(parsed(text), both, "{text}");
    }
}

#[test]
fn a_cursor_is_bound_to_its_filter() {
    let job_id = JobId::new(Uuid::from_u128(7));
    let cursor = parsed("state=FAILED,STARTED").cursor(job_id);
    let next = parsed(&format!("state=STARTED,FAILED&limit=3&cursor={cursor}"));
    assert_eq!(next.older_than, Some(job_id), "the order of states and the page size do not matter");
    for other in ["", "state=FAILED&", "state=STARTED,FAILED,EXPIRED&", "state=STARTED,FAILED&mine=true&"] {
        let problem = parse(&format!("{other}cursor={cursor}")).expect_err(other);
        assert!(problem.contains("another filter"), "{problem}");
    }
}

#[test]
fn the_link_has_the_filter() {
    let query = parsed("mine=true&state=FAILED&vehicle=Bus_%C3%BC&since=2018-11-30&limit=3");
    let cursor = query.cursor(JobId::new(Uuid::from_u128(7)));
    let link = query.link("https://api.test", &cursor).expect("a link");
    let link = link.to_str().expect("ASCII");
    let filter = "state=FAILED&since=2018-11-30T00%3A00%3A00Z&vehicle=Bus_%C3%BC&mine=true";
    assert_eq!(link, format!("<https://api.test/export?limit=3&{filter}&cursor={cursor}>; rel=\"next\""));
    assert!(parse(&format!("{filter}&cursor={cursor}")).is_ok());
}

#[test]
fn invalid_queries_are_refused() {
    let plain = parsed("");
    let forged = |text: String| format!("cursor={}", URL_SAFE_NO_PAD.encode(text));
    let wrong_version = forged(format!("2.{}.{}", plain.filter_hash(), Uuid::nil()));
    let no_id = forged(format!("1.{}.x", plain.filter_hash()));
    let more = forged(format!("1.{}.{}.x", plain.filter_hash(), Uuid::nil()));
    for text in [
        "colour=red",
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=",
        "limit=1.5",
        "limit=5&limit=6",
        "state=",
        "state=finished",
        "state=STARTED,",
        "state=STARTED&state=FAILED",
        "since=",
        "since=yesterday",
        "since=2018-11-31",
        "vehicle=",
        "vehicle=a/b",
        "mine=",
        "mine=1",
        "cursor=",
        "cursor=x",
        "cursor=%ff",
        "state",
        &wrong_version,
        &no_id,
        &more,
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}
