//! The output options as flags. Each option of [`OPTIONS`] is a flag.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use export_core::output::{OPTIONS, Values};
use serde_json::{Map, Value};

/// The output options that are given, as fields of the request.
#[derive(Clone, Debug, Default)]
pub(super) struct OutputArgs(pub(super) Map<String, Value>);

impl Args for OutputArgs {
    fn augment_args(command: Command) -> Command {
        command.args(OPTIONS.iter().map(|option| {
            let arg = Arg::new(option.name).long(option.flag);
            match option.values {
                Values::OneOf(names) => {
                    let values = format!("[values: {}] [default: {}]", names.join(", "), names[0]);
                    arg.value_name("VALUE").help(format!("{} {values}", option.about))
                }
                Values::Milliseconds => {
                    arg.value_name("MILLISECONDS").help(option.about).allow_hyphen_values(true)
                }
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OutputArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = OPTIONS.iter().filter_map(|option| {
            let text = matches.get_one::<String>(option.name)?;
            let value = match option.values {
                Values::OneOf(_) => text.as_str().into(),
                // A text that is not a number is sent as it is: the parser of requests refuses it
                // with its own message.
                Values::Milliseconds => {
                    text.parse::<u64>().map_or_else(|_| text.as_str().into(), Value::from)
                }
            };
            Some((option.name.to_owned(), value))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
