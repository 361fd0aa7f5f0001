//! Where `--json` puts its object: on stdout for every command; in a file where a command prints something else for
//! people, as `bench` does.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};

/// Where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JsonWish {
    /// Nowhere.
    #[default]
    No,
    /// On stdout.
    Stdout,
    /// In a file.
    File(PathBuf),
}

impl JsonWish {
    /// Reads `--json` as a flag. Both forms have one type, since clap keeps one value of a global flag.
    pub(crate) fn flag() -> impl TypedValueParser<Value = Self> {
        BoolishValueParser::new().map(|is_on| if is_on { Self::Stdout } else { Self::No })
    }

    /// Reads `--json FILE`; `-` is stdout.
    pub(crate) fn file() -> impl TypedValueParser<Value = Self> {
        let read = |name: OsString| if name == "-" { Self::Stdout } else { Self::File(name.into()) };
        OsStringValueParser::new().map(read)
    }
}
