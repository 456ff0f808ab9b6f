//! `exports keys create`.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use export_core::Tenant;
use export_core::access::{AllowedVehicles, Scope, VehiclePattern};
use export_core::key::{ApiKey, KeyName, RANDOM_BYTES};
use export_settings::mongo::MongoArgs;
use export_store::{AuditAction, KeyEnd, NewKey};

use super::{Store, audit_entry, patterns, scopes, time};
use crate::failure::UsageError;

/// Longest time that a key may be given, in days: a slip of the pen must not overflow anything.
const MOST_DAYS: u64 = 36_500;
/// Most patterns of one key: they go into each of its jobs.
const MOST_PATTERNS: usize = 1_000;

/// Settings of `exports keys create`.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Whose jobs the key's owner makes and sees: 1 to 63 of a-z, 0-9, - and _
    #[arg(long, value_name = "NAME")]
    tenant: Tenant,
    /// What to call the key in lists
    #[arg(long, value_name = "TEXT", default_value = "")]
    name: KeyName,
    /// What the key's owner may do: export:read, export:write or admin; several times or with commas between
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', default_values = ["export:read", "export:write"])]
    scopes: Vec<Scope>,
    /// Vehicles that the key's owner may see, by name or by a pattern such as `vehicle_0*`; several times [default: all]
    #[arg(long = "vehicle", value_name = "PATTERN")]
    vehicles: Vec<VehiclePattern>,
    /// Days after which the key ends by itself [default: it does not]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=MOST_DAYS))]
    expires_in_days: Option<u64>,
    /// When the key ends by itself: a date (its midnight in UTC) or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "expires_in_days")]
    expires_at: Option<DateTime<Utc>>,
    #[command(flatten)]
    mongo: MongoArgs,
}

impl Create {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if self.expires_at.is_some_and(|end| end <= Utc::now()) {
            return Err(
                UsageError("--expires-at: is over already; give a time in the future".to_owned()).into()
            );
        }
        if self.vehicles.len() > MOST_PATTERNS {
            let text = format!("--vehicle: at most {MOST_PATTERNS} of them; use patterns with *");
            return Err(UsageError(text).into());
        }
        let mut scopes_wanted = self.scopes;
        scopes_wanted.sort_unstable();
        scopes_wanted.dedup();
        let end = match (self.expires_in_days, self.expires_at) {
            (Some(days), _) => KeyEnd::After(Duration::from_hours(24 * days)),
            (None, Some(time)) => KeyEnd::At(time),
            (None, None) => KeyEnd::Never,
        };
        let store = Store::open(&self.mongo).await?;
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).context("this machine gives no random numbers")?;
        let key = ApiKey::new(&random);
        let new = NewKey {
            id: key.id().clone(),
            hash: key.hash(),
            tenant: self.tenant,
            name: self.name,
            scopes: scopes_wanted,
            vehicles: if self.vehicles.is_empty() {
                AllowedVehicles::All
            } else {
                AllowedVehicles::Like(self.vehicles)
            },
            end,
        };
        // First, so that no key is without its entry.
        let entry = audit_entry(AuditAction::KeyCreate, &new.id, &new.tenant, "about to be made");
        store.audit.write(&entry).await.context("no key was made")?;
        let stored = store.keys.create(&new).await.context("no key was made")?;

        let vehicles = patterns(&stored).map_or_else(|| "all".to_owned(), |patterns| patterns.join(" "));
        let until = stored
            .expires_at
            .map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {}", time(end)));
        eprintln!(
            "key {} of tenant {}: {}; vehicles: {vehicles}; {until}",
            stored.id,
            stored.tenant,
            scopes(&stored)
        );
        eprintln!(
            "It is shown this once. Send it as the header `Authorization: Bearer <key>`; end it with `exports keys revoke {}`.",
            stored.id
        );
        println!("{}", key.reveal());
        Ok(())
    }
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, &'static str> {
    let date = text.parse::<NaiveDate>().map(|date| date.and_time(NaiveTime::MIN).and_utc());
    date.or_else(|_| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()))
        .map_err(|_| "expected a date such as 2030-01-31 or a time such as 2030-01-31T12:00:00Z")
}
