//! The names of a setting: its variable, its flag, and old ones that are still accepted.

use std::ffi::OsStr;

use clap::Arg;

/// Old names of a setting, as flags: its hidden aliases.
pub(crate) fn old_flags(argument: &Arg) -> Vec<&str> {
    let visible = argument.get_visible_aliases().unwrap_or_default();
    let all = argument.get_all_aliases().unwrap_or_default();
    all.into_iter().filter(|alias| !visible.contains(alias)).collect()
}

/// The variable that belongs to a flag.
pub(crate) fn variable_of(flag: &str) -> String {
    flag.to_ascii_uppercase().replace('-', "_")
}

/// The name of an argument's setting: that of its variable, which the flag has too.
pub(crate) fn name_of(argument: &Arg) -> String {
    let of_flag = || argument.get_long().map(variable_of);
    variable(argument).map(str::to_owned).or_else(of_flag).unwrap_or_default()
}

/// The name of the argument's environment variable.
pub(crate) fn variable(argument: &Arg) -> Option<&str> {
    argument.get_env().and_then(OsStr::to_str)
}
