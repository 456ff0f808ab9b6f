//! `exports keys create`.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use export_core::Tenant;
use export_core::access::{AllowedVehicles, Scope, VehiclePattern};
use export_core::key::{ApiKey, KeyName, RANDOM_BYTES};
use export_core::names::trimmed;
use export_core::range::{BoundError, parse_bound};
use export_settings::mongo::MongoArgs;
use export_settings::print::{Output, note};
use export_store::{AuditAction, KeyEnd, NewKey};

use super::{Store, audit_entry, patterns, scopes, time};
use crate::failure::UsageError;

/// Longest life of a key, in days: a century, so that a typing error does not overflow a date.
const MOST_DAYS: u64 = 36_500;
/// Most patterns of one key: each of its jobs stores them all.
const MOST_PATTERNS: usize = 1_000;

/// Flags of `exports keys create`.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Tenant whose jobs the key creates and sees: 1 to 63 of a-z, 0-9, - and _
    #[arg(long, value_name = "NAME")]
    tenant: Tenant,
    /// Name of the key in lists
    #[arg(long, value_name = "TEXT", default_value = "")]
    name: KeyName,
    /// Rights of the key: export:read, export:write or admin; repeat the flag or separate them with
    /// commas
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', value_parser = parse_entry::<Scope>, default_values = ["export:read", "export:write"])]
    scopes: Vec<Scope>,
    /// Vehicles that the key may see, by name or by a pattern such as `vehicle_0*`; repeat the flag
    /// or separate them with commas [default: all]
    #[arg(long = "vehicle", value_name = "PATTERN", value_delimiter = ',', value_parser = parse_entry::<VehiclePattern>)]
    vehicles: Vec<VehiclePattern>,
    /// Days until the key expires [default: never]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=MOST_DAYS))]
    expires_in_days: Option<u64>,
    /// Time at which the key expires: a date (its midnight in UTC) or a time such as
    /// 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "expires_in_days")]
    expires_at: Option<DateTime<Utc>>,
    #[command(flatten)]
    mongo: MongoArgs,
}

impl Create {
    pub(super) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        if self.expires_at.is_some_and(|end| end <= Utc::now()) {
            return Err(
                UsageError("--expires-at: is in the past; give a time in the future".to_owned()).into()
            );
        }
        if self.vehicles.len() > MOST_PATTERNS {
            let text = format!("--vehicle: at most {MOST_PATTERNS} patterns; combine some with *");
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
        getrandom::fill(&mut random).context("the operating system has no random numbers")?;
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
        // Written before the key, so that every key has an audit entry.
        let entry = audit_entry(AuditAction::KeyCreate, &new.id, &new.tenant, "about to be made");
        store.audit.write(&entry).await.context("no key was created")?;
        let stored = store.keys.create(&new).await.context("no key was created")?;

        let vehicles = patterns(&stored).map_or_else(|| "all".to_owned(), |patterns| patterns.join(" "));
        let until = stored
            .expires_at
            .map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {}", time(end)));
        note(&format!(
            "key {} of tenant {}: {}; vehicles: {vehicles}; {until}",
            stored.id,
            stored.tenant,
            scopes(&stored)
        ));
        note(&format!(
            "It cannot be shown again. Send it as the header `Authorization: Bearer <key>`; revoke it with `exports keys revoke {}`.",
            stored.id
        ));
        output.line(&key.reveal());
        Ok(())
    }
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    let bound = parse_bound(text, Tz::UTC).map_err(|error| error.to_string())?;
    DateTime::from_timestamp_millis(bound.time_ms).ok_or_else(|| BoundError::NotADate.to_string())
}

/// An entry of a list; spaces around it are not part of it.
fn parse_entry<T: FromStr>(text: &str) -> Result<T, T::Err> {
    trimmed(text).parse()
}
