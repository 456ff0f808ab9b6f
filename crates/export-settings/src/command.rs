//! Reading the command line and the environment into settings.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Args, Command, CommandFactory, FromArgMatches};

use crate::effective::Effective;
use crate::faults::Faults;
use crate::names::{name_of, old_flags, variable, variable_of};
use crate::print::{end_with, note};
use crate::unknown;

/// Value of a setting without a default while the other settings are checked: one that every
/// parser of such a setting takes.
const PLACEHOLDER: &str = "placeholder";

/// What was parsed, and what is wrong with it.
#[derive(Debug)]
pub struct Parsed<P> {
    /// The settings. A wrong one has its default here, or a placeholder.
    pub cli: P,
    /// Everything that is wrong so far.
    pub faults: Faults,
    /// All settings, for the log.
    pub effective: Effective,
    /// Name of the program.
    pub program: String,
}

/// Parses the command line and the environment of this process. Ends the process where they are
/// wrong, and where `--help` or `--version` is given, as [`clap::Parser::parse`] does.
pub fn parse<P: CommandFactory + FromArgMatches>() -> P {
    let parsed = parse_collecting::<P>();
    parsed.faults.end_if_any(&parsed.program);
    parsed.cli
}

/// Like [`parse`], without warnings of variables that look like settings: for a health check, which
/// runs every few seconds.
pub fn parse_quietly<P: CommandFactory + FromArgMatches>() -> P {
    let parsed = parsed::<P>();
    parsed.faults.end_if_any(&parsed.program);
    parsed.cli
}

/// Parses like [`parse`], but collects the settings that are wrong, so that the program can check
/// the rest and report all faults together. Ends the process for every other error, such as an
/// unknown flag.
pub fn parse_collecting<P: CommandFactory + FromArgMatches>() -> Parsed<P> {
    let parsed = parsed::<P>();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in unknown::warnings(names) {
        print(&parsed.program, &warning);
    }
    parsed
}

fn parsed<P: CommandFactory + FromArgMatches>() -> Parsed<P> {
    let original = P::command();
    let program = original.get_name().to_owned();
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let mut renamed = Renamed::default();
    let mut command = prepared(original.clone(), &|name| std::env::var_os(name), &mut renamed);
    for deprecation in renamed.deprecations.into_iter().chain(deprecated_flags(&command, &arguments)) {
        print(&program, &deprecation);
    }
    let mut faults = Faults::default();
    renamed.conflicts.into_iter().for_each(|conflict| _ = faults.add(conflict));
    let mut matches = loop {
        let mut attempt = command.clone();
        let error = match attempt.try_get_matches_from_mut(&arguments) {
            Ok(matches) => break matches,
            Err(error) => error.format(&mut attempt),
        };
        let Some((setting, text)) = setting_error(&error) else {
            faults.end_if_any(&program);
            end_with(&error)
        };
        if !faults.add(text) {
            // It cannot be left out, so the settings after it cannot be checked.
            faults.end_if_any(&program);
        }
        (command, arguments) = without_setting(command, arguments, &setting);
    };
    let effective = Effective::of(&original, &matches);
    match P::from_arg_matches_mut(&mut matches) {
        Ok(cli) => Parsed { cli, faults, effective, program },
        Err(error) => {
            faults.end_if_any(&program);
            end_with(&error.format(&mut command))
        }
    }
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

/// The setting and the text of an error that one of our parsers has made; `None` for clap's own
/// errors.
fn setting_error(error: &clap::Error) -> Option<(String, String)> {
    let text = error.to_string();
    let text = text.lines().next()?.strip_prefix("error: ")?;
    let (setting, _) = text.strip_prefix("setting ")?.split_once(" is ")?;
    (error.kind() == ErrorKind::ValueValidation).then(|| (setting.to_owned(), text.to_owned()))
}

/// The command line where this setting is not given: neither as a variable nor as a flag. Without a
/// default it has a placeholder.
fn without_setting(
    command: Command,
    mut arguments: Vec<OsString>,
    setting: &str,
) -> (Command, Vec<OsString>) {
    let mut flags = Vec::new();
    let command = reset(command, setting, &mut flags);
    for flag in flags.iter().map(|flag| format!("--{flag}")) {
        let is_flag = |argument: &OsString| argument.to_str() == Some(&flag);
        while let Some(place) = arguments.iter().position(is_flag) {
            arguments.drain(place..arguments.len().min(place + 2));
        }
        let with_value = format!("{flag}=");
        arguments.retain(|argument| !argument.to_str().is_some_and(|text| text.starts_with(&with_value)));
    }
    (command, arguments)
}

/// The command whose argument of this setting reads no variable; `flags` gets the argument's flags.
fn reset(command: Command, setting: &str, flags: &mut Vec<String>) -> Command {
    let command = command.mut_args(|argument| {
        if name_of(&argument) != setting {
            return argument;
        }
        flags.extend(argument.get_long().map(str::to_owned));
        flags.extend(argument.get_all_aliases().into_iter().flatten().map(str::to_owned));
        let has_blank_default = argument.get_default_values().first().is_some_and(|value| value.is_empty());
        let argument = argument.env(Resettable::Reset);
        if has_blank_default { argument.default_value(PLACEHOLDER) } else { argument }
    });
    command.mut_subcommands(|subcommand| reset(subcommand, setting, flags))
}

/// What was found of old names in the environment.
#[derive(Debug, Default)]
struct Renamed {
    /// Warnings.
    deprecations: Vec<String>,
    /// Settings that have their old and their new name.
    conflicts: Vec<String>,
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
                renamed
                    .conflicts
                    .push(format!("settings {old} and {new} are both set: keep {new}, the new name"));
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
        assert!(renamed.conflicts.is_empty());
    }

    #[test]
    fn an_old_and_a_new_variable_are_an_error_unless_one_is_blank() {
        let (_, renamed) = prepare(&[("SOURCE_MAX_CURSORS", "3"), ("SOURCE_MAX_READS", "4")]);
        let error = "settings SOURCE_MAX_CURSORS and SOURCE_MAX_READS are both set: keep SOURCE_MAX_READS, the new name";
        assert_eq!(renamed.conflicts, [error]);
        for blank in ["SOURCE_MAX_CURSORS", "SOURCE_MAX_READS"] {
            let mut both = [("SOURCE_MAX_CURSORS", "3"), ("SOURCE_MAX_READS", "4")];
            both.iter_mut().filter(|(name, _)| *name == blank).for_each(|(_, value)| *value = " ");
            assert!(prepare(&both).1.conflicts.is_empty());
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
