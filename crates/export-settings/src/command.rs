//! Reading the command line and the environment into settings.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command, CommandFactory, FromArgMatches};

use crate::print::{end_with, note};

/// Exit code for wrong flags and settings, as clap has it.
const USAGE: i32 = 2;

/// Parses the command line and the environment of this process. Ends the process where they are
/// wrong, and where `--help` or `--version` is given, as [`clap::Parser::parse`] does.
pub fn parse<P: CommandFactory + FromArgMatches>() -> P {
    let command = P::command();
    let program = command.get_name().to_owned();
    let end = |error: &str| -> ! {
        print(&program, error);
        std::process::exit(USAGE)
    };
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut renamed = Renamed::default();
    let mut command = prepared(command, &|name| std::env::var_os(name), &mut renamed);
    if let Some(error) = renamed.conflict {
        end(&error);
    }
    let parsed = command
        .try_get_matches_from_mut(&arguments)
        .and_then(|mut matches| P::from_arg_matches_mut(&mut matches))
        .map_err(|error| error.format(&mut command));
    let flags = deprecated_flags(&command, &arguments);
    for deprecation in renamed.deprecations.into_iter().chain(flags) {
        print(&program, &deprecation);
    }
    parsed.unwrap_or_else(|error| match setting_error(&error) {
        Some(text) => end(&text),
        None => end_with(&error),
    })
}

/// Parses flags alone, without the environment, for tests. The error is the whole text.
pub fn from_flags<A: Args>(flags: &[&str]) -> Result<A, String> {
    let command = A::augment_args(Command::new("program").no_binary_name(true));
    let command = command.mut_args(|argument| argument.env(Resettable::Reset));
    let matches = command.try_get_matches_from(flags).map_err(|error| error.to_string())?;
    A::from_arg_matches(&matches).map_err(|error| error.to_string())
}

/// The group where none of its settings is set, for tests.
pub fn defaults<A: Args>() -> A {
    from_flags(&[]).unwrap_or_else(|error| panic!("a default is wrong: {error}"))
}

// Not a log line: logs are set up with the settings that are read here.
fn print(program: &str, text: &str) {
    note(&format!("{program}: {text}"));
}

/// The text of an error that one of our parsers has made; `None` for clap's own errors.
fn setting_error(error: &clap::Error) -> Option<String> {
    let text = error.to_string();
    let text = text.lines().next()?.strip_prefix("error: ")?;
    (error.kind() == ErrorKind::ValueValidation && text.starts_with("setting ")).then(|| text.to_owned())
}

/// Old names of a setting, as flags: its hidden aliases.
fn old_flags(argument: &Arg) -> Vec<&str> {
    let visible = argument.get_visible_aliases().unwrap_or_default();
    let all = argument.get_all_aliases().unwrap_or_default();
    all.into_iter().filter(|alias| !visible.contains(alias)).collect()
}

/// The variable that belongs to a flag.
pub(crate) fn variable_of(flag: &str) -> String {
    flag.to_ascii_uppercase().replace('-', "_")
}

/// The name of the argument's environment variable.
pub(crate) fn variable(argument: &Arg) -> Option<&str> {
    argument.get_env().and_then(OsStr::to_str)
}

/// What was found of old names in the environment.
#[derive(Debug, Default)]
struct Renamed {
    /// Warnings.
    deprecations: Vec<String>,
    /// A setting that has its old and its new name.
    conflict: Option<String>,
}

/// The command, with blank variables taken as not given, and with old variables read where the new
/// ones are not given.
fn prepared(
    command: Command,
    environment: &dyn Fn(&str) -> Option<OsString>,
    renamed: &mut Renamed,
) -> Command {
    let is_blank = |name: &str| {
        environment(name).is_some_and(|value| value.to_str().is_some_and(|value| value.trim().is_empty()))
    };
    let is_given = |name: &str| environment(name).is_some() && !is_blank(name);
    let command = command.mut_args(|argument| {
        let Some(new) = variable(&argument).map(str::to_owned) else { return argument };
        let old = old_flags(&argument).into_iter().map(variable_of).find(|old| is_given(old));
        match old {
            Some(old) if is_given(&new) => {
                renamed.conflict =
                    Some(format!("settings {old} and {new} are both set: keep {new}, the new name"));
                argument
            }
            Some(old) => {
                renamed.deprecations.push(format!("setting {old} is deprecated: its new name is {new}"));
                // Once in a process: clap wants names that live as long as it.
                let old: &'static str = old.leak();
                argument.env(old)
            }
            // A parser takes a blank value for the default; without a default the variable must not
            // be read at all.
            None if is_blank(&new) && argument.get_default_values().is_empty() => {
                argument.env(Resettable::Reset)
            }
            None => argument,
        }
    });
    command.mut_subcommands(|subcommand| prepared(subcommand, environment, renamed))
}

/// A warning for each old flag on the command line.
fn deprecated_flags(command: &Command, arguments: &[OsString]) -> Vec<String> {
    let is_given = |flag: &str| {
        let given = arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("--"));
        given
            .into_iter()
            .any(|given| given == flag || given.split_once('=').is_some_and(|(name, _)| name == flag))
    };
    let of_this = command.get_arguments().flat_map(|argument| {
        let new = argument.get_long().unwrap_or_default();
        let old = old_flags(argument).into_iter().filter(|old| variable(argument).is_some() && is_given(old));
        old.map(move |old| format!("flag --{old} is deprecated: its new name is --{new}")).collect::<Vec<_>>()
    });
    let warnings: Vec<String> = of_this.collect();
    let of_others = command.get_subcommands().flat_map(|other| deprecated_flags(other, arguments));
    warnings.into_iter().chain(of_others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::ReadingSettings;

    /// The command, in an environment of these variables alone.
    fn prepare(environment: &[(&str, &str)]) -> (Command, Renamed) {
        let run = ReadingSettings::augment_args(Command::new("run"));
        let find = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let mut renamed = Renamed::default();
        let command = prepared(Command::new("program").subcommand(run), &find, &mut renamed);
        (command, renamed)
    }

    fn variables(command: &Command) -> Vec<&str> {
        command.find_subcommand("run").expect("run").get_arguments().filter_map(variable).collect()
    }

    #[test]
    fn an_old_variable_is_read_and_a_warning_says_the_new_name() {
        let (command, renamed) = prepare(&[("SOURCE_MAX_CURSORS", "3")]);
        assert!(variables(&command).contains(&"SOURCE_MAX_CURSORS"));
        let warning = "setting SOURCE_MAX_CURSORS is deprecated: its new name is SOURCE_MAX_READS";
        assert_eq!(renamed.deprecations, [warning]);
        assert_eq!(renamed.conflict, None);
    }

    #[test]
    fn an_old_and_a_new_variable_are_an_error_unless_one_is_blank() {
        let (_, renamed) = prepare(&[("SOURCE_MAX_CURSORS", "3"), ("SOURCE_MAX_READS", "4")]);
        let error = "settings SOURCE_MAX_CURSORS and SOURCE_MAX_READS are both set: keep SOURCE_MAX_READS, the new name";
        assert_eq!(renamed.conflict.as_deref(), Some(error));
        for blank in ["SOURCE_MAX_CURSORS", "SOURCE_MAX_READS"] {
            let mut both = [("SOURCE_MAX_CURSORS", "3"), ("SOURCE_MAX_READS", "4")];
            both.iter_mut().filter(|(name, _)| *name == blank).for_each(|(_, value)| *value = " ");
            assert_eq!(prepare(&both).1.conflict, None);
        }
    }

    #[test]
    fn a_blank_variable_without_a_default_is_not_read() {
        let (command, _) = prepare(&[("SOURCE_MAX_BYTES_PER_SECOND", " "), ("SOURCE_MAX_READS", "")]);
        assert_eq!(variables(&command), ["SOURCE_MAX_READS", "SOURCE_READ_PREFERENCE", "MAX_COLUMNS"]);
        assert_eq!(variables(&prepare(&[]).0).len(), 4);
    }

    #[test]
    fn an_old_flag_is_warned_of() {
        let (command, _) = prepare(&[]);
        let warning = ["flag --source-max-cursors is deprecated: its new name is --source-max-reads"];
        for old in
            [&["program", "run", "--source-max-cursors=3"][..], &["program", "--source-max-cursors", "3"]]
        {
            let arguments: Vec<OsString> = old.iter().map(OsString::from).collect();
            assert_eq!(deprecated_flags(&command, &arguments), warning);
        }
        assert!(deprecated_flags(&command, &["--source-max-reads=3".into()]).is_empty());
    }
}
