//! The machine's time zone.

use jiff::tz::TimeZone;

/// Where the machine's zone is, by localtime(5).
const FILE: &str = "/etc/localtime";

/// The zone that `TZ` names, else that of the machine. To find the latter, jiff would read the names
/// of all zones that there are, which takes longer than some programs of ours run.
pub fn local() -> TimeZone {
    let is_named = std::env::var_os("TZ").is_some_and(|name| !name.is_empty());
    let file = (!is_named).then(|| std::fs::read(FILE).ok()).flatten();
    let zone = file.and_then(|bytes| TimeZone::tzif(FILE, &bytes).ok());
    zone.unwrap_or_else(TimeZone::system)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn it_is_the_zone_that_jiff_finds() {
        for second in [0, 1_700_000_000, 1_720_000_000] {
            let at = Timestamp::from_second(second).unwrap();
            let of = |zone: &TimeZone| zone.to_offset_info(at).abbreviation().to_string();
            assert_eq!(of(&local()), of(&TimeZone::system()));
            assert_eq!(
                local().to_offset(at),
                TimeZone::system().to_offset(at),
                "{second}"
            );
        }
    }
}
