//! Integers, booleans and durations.

use super::allowed::{Allowed, MAX_SECONDS, MIN_STREAM_BYTES};
use super::{DisplayValue, Raw, Setting, parsed};
use core::time::Duration;

fn whole_fits(number: u64, allowed: Allowed) -> bool {
    match allowed {
        Allowed::Whole { min, max } => (min..=max).contains(&number),
        Allowed::StreamRate => number == 0 || number >= MIN_STREAM_BYTES,
        _ => true,
    }
}

macro_rules! whole_setting {
    ($($type:ty)+) => {$(
        impl Setting for $type {
            fn read(raw: &Raw) -> Result<Self, String> {
                let number = raw.whole().and_then(|number| Self::try_from(number).ok());
                parsed(raw, number)
            }

            fn fits(&self, allowed: Allowed) -> bool {
                whole_fits(u64::from(*self), allowed)
            }

            fn show(&self) -> DisplayValue {
                DisplayValue::Whole(u64::from(*self))
            }
        }
    )+};
}

whole_setting!(u16 u32 u64);

impl Setting for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        let value = match raw {
            Raw::Switch(value) => Some(*value),
            Raw::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        parsed(raw, value)
    }

    fn show(&self) -> DisplayValue {
        DisplayValue::Switch(*self)
    }
}

/// Seconds; the key's [`Allowed`] decides whether a fraction is valid.
impl Setting for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        let seconds = raw
            .whole()
            .map(Self::from_secs)
            .or_else(|| Self::try_from_secs_f64(raw.real()?).ok());
        parsed(raw, seconds)
    }

    fn fits(&self, allowed: Allowed) -> bool {
        let short = *self <= Self::from_secs(MAX_SECONDS);
        match allowed {
            Allowed::WholeSeconds { min } => {
                short && self.subsec_nanos() == 0 && self.as_secs() >= min
            }
            Allowed::Seconds { zero } => short && (zero || !self.is_zero()),
            _ => true,
        }
    }

    fn show(&self) -> DisplayValue {
        if self.subsec_nanos() == 0 {
            DisplayValue::Whole(self.as_secs())
        } else {
            DisplayValue::Real(self.as_secs_f64())
        }
    }
}

/// Value that is derived from other keys, or chosen later, if it is not set.
macro_rules! derived_setting {
    ($($type:ty)+) => {$(
        impl Setting for Option<$type> {
            fn read(raw: &Raw) -> Result<Self, String> {
                <$type>::read(raw).map(Some)
            }

            fn fits(&self, allowed: Allowed) -> bool {
                self.is_none_or(|value| value.fits(allowed))
            }

            fn show(&self) -> DisplayValue {
                self.as_ref().map_or(DisplayValue::Unset, Setting::show)
            }
        }
    )+};
}

derived_setting!(u16 u64 Duration);
