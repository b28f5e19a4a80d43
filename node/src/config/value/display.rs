//! Form of values for display, in TOML and JSON.

use core::fmt;

/// Value for display: TOML and JSON write all of these the same way.
#[derive(Clone, PartialEq, Debug)]
pub enum DisplayValue {
    /// Unset.
    Unset,
    /// Integer.
    Whole(u64),
    /// Float.
    Real(f64),
    /// Boolean.
    Switch(bool),
    /// Text.
    Text(String),
    /// List of texts.
    Texts(Vec<String>),
    /// Secret that is set but must not be shown.
    Redacted,
}

impl DisplayValue {
    /// Returns the value for `--json`; a secret is the text `<redacted>`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Unset => serde_json::Value::Null,
            Self::Whole(number) => (*number).into(),
            Self::Real(number) => (*number).into(),
            Self::Switch(value) => (*value).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Texts(texts) => texts.clone().into(),
            Self::Redacted => "<redacted>".into(),
        }
    }
}

/// Form in a TOML file.
impl fmt::Display for DisplayValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match self {
            Self::Unset => f.write_str("\"\""),
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => write!(f, "{number:?}"),
            Self::Switch(value) => value.fmt(f),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Texts(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                write!(f, "[{}]", texts.join(", "))
            }
            Self::Redacted => f.write_str("\"<redacted>\""),
        }
    }
}
