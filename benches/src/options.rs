//! The command line.

use crate::report::Report;
use crate::{Failure, PARTS, Part};

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench [--check] [--json] [--only PART,PART...]

  --check   exit with 1 if a gate is missed
  --json    print JSON instead of a table: a list of measurements
  --only    measure these parts only: ";

/// What is asked for.
pub(crate) struct Options {
    check: bool,
    json: bool,
    parts: Vec<Part>,
}

impl Options {
    /// Reads a command line; `None` if it is none.
    pub(crate) fn parse(args: &[&str]) -> Option<Self> {
        let mut options = Self { check: false, json: false, parts: PARTS.to_vec() };
        let mut args = args.iter();
        while let Some(&arg) = args.next() {
            match arg {
                "--check" => options.check = true,
                "--json" => options.json = true,
                "--only" => {
                    let find = |wanted: &str| PARTS.into_iter().find(|(name, _)| *name == wanted);
                    options.parts = args.next()?.split(',').map(find).collect::<Option<_>>()?;
                }
                _ => return None,
            }
        }
        Some(options)
    }

    /// Measures and prints; whether that is a success.
    pub(crate) fn measure(&self) -> Result<bool, Failure> {
        let mut report = Report::default();
        for (name, part) in &self.parts {
            eprintln!("measuring {name} ...");
            part(&mut report)?;
        }
        if self.json {
            println!("{}", report.to_json());
        } else {
            report.print();
        }
        Ok(!self.check || report.gates_hold())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_in_any_order_and_nothing_else_is() {
        let options = Options::parse(&["--only", "bulk,codec", "--check"]).expect("good options");
        assert!(options.check && !options.json);
        assert_eq!(options.parts.iter().map(|part| part.0).collect::<Vec<_>>(), ["bulk", "codec"]);
        assert_eq!(Options::parse(&[]).map(|options| options.parts.len()), Some(PARTS.len()));
        for bad in [&["--only"][..], &["--only", "hulk"], &["--chekc"], &["bulk"]] {
            assert!(Options::parse(bad).is_none(), "{bad:?}");
        }
    }
}
