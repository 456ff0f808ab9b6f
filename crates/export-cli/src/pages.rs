//! Reads the API's lists page by page.

use export_settings::print::Output;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Call, Client};
use crate::table::Table;

/// Entries per page.
const PAGE_SIZE: u32 = 100;

/// One page of any list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Page {
    pub(crate) exports: Vec<Value>,
    pub(crate) vehicles: Vec<Value>,
    /// Of a list of vehicles.
    catalog: Option<CatalogState>,
    next_cursor: Option<String>,
}

/// How current the catalog is, from which a list of vehicles comes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CatalogState {
    pub(crate) age_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) ready: bool,
}

/// What was printed of a list.
pub(crate) struct Printed {
    /// The table that the rows were added to.
    pub(crate) table: Table,
    /// The catalog's state as of the first page.
    pub(crate) catalog: Option<CatalogState>,
}

/// Makes a table's row of an entry.
pub(crate) type RowOf<'a> = &'a dyn Fn(&Value) -> serde_json::Result<Vec<String>>;

/// Reads one list.
pub(crate) struct Pages {
    call: Call,
    query: Vec<(&'static str, String)>,
    /// How many more entries to read; `None` is all.
    left: Option<u32>,
    /// The cursor of the next page; `None` for the first.
    cursor: Option<String>,
    is_at_end: bool,
    catalog: Option<CatalogState>,
}

impl Pages {
    /// Reads the list at this path, to its end or until `limit` entries.
    pub(crate) fn new(path: &[&str], query: Vec<(&'static str, String)>, limit: Option<u32>) -> Self {
        Self { call: Call::get(path), query, left: limit, cursor: None, is_at_end: false, catalog: None }
    }

    /// The next entries; `None` at the end of the list or at the limit.
    pub(crate) async fn next(
        &mut self,
        client: &Client,
        entries: fn(Page) -> Vec<Value>,
    ) -> anyhow::Result<Option<Vec<Value>>> {
        let limit = self.left.unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
        if self.is_at_end || limit == 0 {
            return Ok(None);
        }
        self.call.query.clone_from(&self.query);
        self.call.query.push(("limit", limit.to_string()));
        self.call.query.extend(self.cursor.take().map(|cursor| ("cursor", cursor)));
        let mut page: Page = client.call(&self.call).await?.json()?;
        self.cursor = page.next_cursor.take();
        self.is_at_end = self.cursor.is_none();
        self.catalog = self.catalog.take().or(page.catalog.take());
        let entries = entries(page);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        }
        Ok(Some(entries))
    }

    /// Prints all pages, as long as there is a reader: each entry as `row` makes it, or without
    /// `row` as a line of JSON.
    pub(crate) async fn print(
        mut self,
        client: &Client,
        entries: fn(Page) -> Vec<Value>,
        mut table: Table,
        row: Option<RowOf<'_>>,
        output: &mut Output,
    ) -> anyhow::Result<Printed> {
        while output.has_reader()
            && let Some(page) = self.next(client, entries).await?
        {
            for json in page {
                match row {
                    Some(row) => table.add(row(&json)?),
                    None => output.line(&json.to_string()),
                }
            }
            for line in table.lines() {
                output.line(&line);
            }
        }
        Ok(Printed { table, catalog: self.catalog })
    }
}
