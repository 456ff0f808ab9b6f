//! `exports keys create`.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use export_core::Tenant;
use export_core::access::{MAX_PATTERNS, Scope};
use export_core::key::{ApiKey, KeyName, RANDOM_BYTES};
use export_core::range::{BoundError, parse_bound};
use export_settings::mongo::MongoArgs;
use export_settings::print::{Output, note};
use export_store::{AuditAction, KeyEnd, NewKey};

use super::{Store, scopes, time};
use crate::audit;
use crate::failure::UsageError;
use crate::vehicle_args::{VehicleArgs, described, parse_entry};

/// Longest life of a key, in days: a century, so that a typing error does not overflow a date.
const MOST_DAYS: u64 = 36_500;
/// Days until a key expires, unless its flags say something else: a year, so that a key that was
/// forgotten ends.
const DEFAULT_DAYS: u64 = 365;

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
    #[command(flatten)]
    vehicles: VehicleArgs,
    /// Days until the key expires [default: 365]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=MOST_DAYS))]
    expires_in_days: Option<u64>,
    /// Time at which the key expires: a date (its midnight in UTC) or a time such as
    /// 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true, conflicts_with = "expires_in_days")]
    expires_at: Option<DateTime<Utc>>,
    /// The key is valid until it is revoked
    #[arg(long, conflicts_with_all = ["expires_in_days", "expires_at"])]
    never_expires: bool,
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
        let vehicles = self.vehicles.resolve("the key", MAX_PATTERNS)?;
        let mut scopes_wanted = self.scopes;
        scopes_wanted.sort_unstable();
        scopes_wanted.dedup();
        let end = match (self.expires_in_days, self.expires_at) {
            (Some(days), _) => KeyEnd::After(Duration::from_hours(24 * days)),
            (None, Some(time)) => KeyEnd::At(time),
            (None, None) if self.never_expires => KeyEnd::Never,
            (None, None) => KeyEnd::After(Duration::from_hours(24 * DEFAULT_DAYS)),
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
            vehicles,
            end,
        };
        // Written before the key, so that every key has an audit entry.
        let entry = audit::entry(AuditAction::KeyCreate, &new.tenant, Some(&new.id), "about to be made");
        store.audit.write(&entry).await.context("no key was created")?;
        let stored = store.keys.create(&new).await.context("no key was created")?;

        let vehicles = described(&stored.vehicles);
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
