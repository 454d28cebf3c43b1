//! Arguments: from what was sent to what a method's parameters ask for.

use crate::{
    fault::{Fault, did_you_mean},
    object::{Args, Param, ParamKind},
    time::{DateTime, TimeDelta},
    value::{Array, Map, Value},
};
use alloc::{borrow::Cow, collections::BTreeMap, format, string::String, vec::Vec};
use core::fmt;

/// A kind of value, as `describe` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Python's name for it, with `|None` behind where None will do: `int`, `list[str]`, `any`.
    pub name: Cow<'static, str>,
    /// The least and the greatest whole number allowed.
    pub range: Option<(i128, i128)>,
}

impl Type {
    /// A kind of value without a range.
    pub const fn named(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), range: None }
    }
}

/// Why a value does not fit a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It is of another kind.
    WrongType {
        /// What is asked for.
        expected: Cow<'static, str>,
        /// What was sent.
        given: &'static str,
    },
    /// It is a whole number, but too small or too large.
    OutOfRange {
        /// What was sent.
        given: i128,
        /// The least that is allowed.
        min: i128,
        /// The greatest that is allowed.
        max: i128,
    },
    /// It is of the right kind, and still not allowed.
    Refused {
        /// What a value must be, to stand behind "must be".
        must_be: Cow<'static, str>,
    },
}

impl Mismatch {
    /// `value` is not an `expected`.
    pub fn wrong(expected: impl Into<Cow<'static, str>>, value: &Value<'_>) -> Self {
        Mismatch::WrongType { expected: expected.into(), given: value.kind() }
    }

    /// The fault for a caller who passed such a value for `what`.
    pub fn fault(&self, what: impl fmt::Display) -> Fault {
        match self {
            Mismatch::WrongType { expected, given } => {
                Fault::type_error(format!("{what} must be {expected}, not {given}"))
            }
            Mismatch::OutOfRange { given, min, max } => {
                Fault::value_error(format!("{what} is {given}; it must be {min} to {max}"))
            }
            Mismatch::Refused { must_be } => {
                Fault::value_error(format!("{what} must be {must_be}"))
            }
        }
    }
}

/// A type that a parameter can have.
///
/// Implemented for whole numbers (range checked), `f64`, `bool`, `&str`, `String`, `&[u8]`, `Option`,
/// `Vec`, [`BTreeMap`], [`Array`], [`Map`], [`DateTime`], [`TimeDelta`] and, for anything, [`Value`].
#[diagnostic::on_unimplemented(
    message = "a parameter cannot be of type `{Self}`",
    label = "not a type that can be passed",
    note = "implement `FromArg` for it, or take a `Value<'_>`"
)]
pub trait FromArg<'a>: Sized {
    /// Takes the value, where it fits.
    ///
    /// # Errors
    ///
    /// Why it does not fit.
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch>;

    /// The kind of value, for the interface definition.
    fn ty() -> Type;
}

macro_rules! whole_numbers {
    ($($type:ty)*) => { $(
        #[allow(clippy::cast_lossless)] // `usize` has no `From`, and is one of them
        impl FromArg<'_> for $type {
            fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
                let given = match value {
                    Value::Uint(number) => i128::from(number),
                    Value::Int(number) => i128::from(number),
                    _ => return Err(Mismatch::wrong("an int", &value)),
                };
                let (min, max) = (Self::MIN as i128, Self::MAX as i128);
                Self::try_from(given).map_err(|_| Mismatch::OutOfRange { given, min, max })
            }

            fn ty() -> Type {
                Type { name: "int".into(), range: Some((Self::MIN as i128, Self::MAX as i128)) }
            }
        }
    )* };
}
whole_numbers!(u8 u16 u32 u64 usize i8 i16 i32 i64);

impl FromArg<'_> for f64 {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Float(number) => Ok(number),
            // As Python does: a whole number is taken for the float nearest to it.
            #[allow(clippy::cast_precision_loss)]
            Value::Uint(number) => Ok(number as f64),
            #[allow(clippy::cast_precision_loss)]
            Value::Int(number) => Ok(number as f64),
            _ => Err(Mismatch::wrong("a float", &value)),
        }
    }

    fn ty() -> Type {
        Type::named("float")
    }
}

impl FromArg<'_> for bool {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Bool(truth) => Ok(truth),
            _ => Err(Mismatch::wrong("a bool", &value)),
        }
    }

    fn ty() -> Type {
        Type::named("bool")
    }
}

impl<'a> FromArg<'a> for &'a str {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        value.as_text().ok_or_else(|| Mismatch::wrong("a str", &value))
    }

    fn ty() -> Type {
        Type::named("str")
    }
}

impl FromArg<'_> for String {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        <&str>::from_arg(value).map(String::from)
    }

    fn ty() -> Type {
        Type::named("str")
    }
}

impl<'a> FromArg<'a> for &'a [u8] {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        value.as_bytes().ok_or_else(|| Mismatch::wrong("bytes", &value))
    }

    fn ty() -> Type {
        Type::named("bytes")
    }
}

impl<'a, T: FromArg<'a>> FromArg<'a> for Option<T> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::Nil => Ok(None),
            _ => T::from_arg(value).map(Some),
        }
    }

    fn ty() -> Type {
        let inner = T::ty();
        Type { name: format!("{}|None", inner.name).into(), range: inner.range }
    }
}

impl<'a, T: FromArg<'a>> FromArg<'a> for Vec<T> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        Array::from_arg(value)?.iter().map(T::from_arg).collect()
    }

    fn ty() -> Type {
        Type { name: format!("list[{}]", T::ty().name).into(), range: None }
    }
}

impl<'a, T: FromArg<'a>> FromArg<'a> for BTreeMap<&'a str, T> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        let entry = |(key, value)| Ok((<&str>::from_arg(key)?, T::from_arg(value)?));
        Map::from_arg(value)?.iter().map(entry).collect()
    }

    fn ty() -> Type {
        Type { name: format!("dict[str, {}]", T::ty().name).into(), range: None }
    }
}

impl<'a, T: FromArg<'a>> FromArg<'a> for BTreeMap<String, T> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        let entry = |(key, value)| Ok((String::from_arg(key)?, T::from_arg(value)?));
        Map::from_arg(value)?.iter().map(entry).collect()
    }

    fn ty() -> Type {
        <BTreeMap<&str, T>>::ty()
    }
}

impl<'a> FromArg<'a> for Array<'a> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::Array(array) => Ok(array),
            _ => Err(Mismatch::wrong("a list", &value)),
        }
    }

    fn ty() -> Type {
        Type::named("list")
    }
}

impl<'a> FromArg<'a> for Map<'a> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::Map(map) => Ok(map),
            _ => Err(Mismatch::wrong("a dict", &value)),
        }
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

impl<'a> FromArg<'a> for Value<'a> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        Ok(value)
    }

    fn ty() -> Type {
        Type::named("any")
    }
}

impl FromArg<'_> for DateTime {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        DateTime::from_value(value).ok_or_else(|| Mismatch::wrong("a datetime", &value))
    }

    fn ty() -> Type {
        Type::named("datetime")
    }
}

impl FromArg<'_> for TimeDelta {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        TimeDelta::from_value(value).ok_or_else(|| Mismatch::wrong("a timedelta", &value))
    }

    fn ty() -> Type {
        Type::named("timedelta")
    }
}

/// Arguments laid beside the parameters that they are for.
///
/// `N` is the number of [plain](ParamKind::Plain) parameters, which stand before the collecting ones.
#[derive(Debug)]
pub struct Bound<'a, const N: usize> {
    method: &'a str,
    params: &'a [Param],
    args: Args<'a>,
    plain: [Option<Value<'a>>; N],
}

impl<'a, const N: usize> Bound<'a, N> {
    /// Lays `args` beside `params`, before anything runs.
    ///
    /// # Errors
    ///
    /// `TypeError`: too many arguments, one given twice, one of an unknown name, or one missing.
    pub fn new(method: &'a str, params: &'a [Param], args: Args<'a>) -> Result<Self, Fault> {
        let collects = |kind| params.iter().any(|param| param.kind == kind);
        let mut plain = [None; N];
        let given = args.positional.len();
        if given > N && !collects(ParamKind::Args) {
            return Err(too_many(method, params, given).before());
        }
        for (slot, value) in plain.iter_mut().zip(args.positional.iter()) {
            *slot = Some(value);
        }
        for (key, value) in args.named.iter() {
            let name = key.as_text().unwrap_or_default();
            let known = params
                .iter()
                .zip(plain.iter_mut())
                .find(|(param, _)| param.kind == ParamKind::Plain && param.name == name);
            match known {
                Some((_, slot @ None)) => *slot = Some(value),
                Some((_, Some(_))) => {
                    return Err(Fault::type_error(format!(
                        "{method}() got multiple values for argument '{name}'"
                    ))
                    .before());
                }
                None if collects(ParamKind::Kwargs) => {}
                None => return Err(unexpected(method, params, name).before()),
            }
        }
        let mut missing = params
            .iter()
            .zip(&plain)
            .filter(|(param, slot)| {
                param.kind == ParamKind::Plain && param.default.is_none() && slot.is_none()
            })
            .map(|(param, _)| format!("'{}'", param.name));
        if let Some(first) = missing.next() {
            let names = missing.fold(first, |names, name| names + ", " + &name);
            let plural = if names.contains(',') { "s" } else { "" };
            return Err(Fault::type_error(format!(
                "{method}() missing required argument{plural}: {names}"
            ))
            .before());
        }
        Ok(Self { method, params, args, plain })
    }

    /// The argument for the parameter at `index`; `default` is asked where none was passed.
    ///
    /// # Errors
    ///
    /// `TypeError` or `ValueError` where the argument does not fit.
    pub fn arg<T: FromArg<'a>>(
        &self,
        index: usize,
        default: impl FnOnce() -> Option<T>,
    ) -> Result<T, Fault> {
        let name = || self.params.get(index).map_or("?", |param| param.name.as_str());
        match self.plain.get(index).copied().flatten() {
            Some(value) => T::from_arg(value).map_err(|mismatch| {
                mismatch.fault(format_args!("argument '{}' of {}()", name(), self.method)).before()
            }),
            None => default().ok_or_else(|| {
                Fault::type_error(format!(
                    "{}() missing required argument: '{}'",
                    self.method,
                    name()
                ))
            }),
        }
    }

    /// What a parameter marked `#[args]` gets: the positional arguments behind the plain ones.
    pub fn rest(&self) -> Array<'a> {
        self.args.positional.skip(N)
    }

    /// What a parameter marked `#[kwargs]` gets: the named arguments that are no plain ones.
    pub fn named_rest(&self) -> Kwargs<'a> {
        Kwargs { map: self.args.named, params: self.params }
    }
}

/// The named arguments of a call that no parameter has taken.
#[derive(Clone, Copy, Debug)]
pub struct Kwargs<'a> {
    map: Map<'a>,
    params: &'a [Param],
}

impl<'a> Kwargs<'a> {
    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + Clone + use<'a> {
        let params = self.params;
        self.map.iter().filter_map(move |(key, value)| {
            let name = key.as_text()?;
            let taken = |p: &Param| p.kind == ParamKind::Plain && p.name == name;
            (!params.iter().any(taken)).then_some((name, value))
        })
    }

    /// The value passed as `name`.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

fn too_many(method: &str, params: &[Param], given: usize) -> Fault {
    let plain = params.iter().filter(|param| param.kind == ParamKind::Plain);
    let most = plain.clone().count();
    let least = plain.filter(|param| param.default.is_none()).count();
    let takes = if least == most { format!("{most}") } else { format!("{least} to {most}") };
    let plural = if most == 1 { "" } else { "s" };
    let were = if given == 1 { "was" } else { "were" };
    Fault::type_error(format!("{method}() takes {takes} argument{plural} but {given} {were} given"))
}

fn unexpected(method: &str, params: &[Param], name: &str) -> Fault {
    let fault =
        Fault::type_error(format!("{method}() got an unexpected keyword argument '{name}'"));
    let names = params.iter().filter(|p| p.kind == ParamKind::Plain).map(|p| p.name.as_str());
    match did_you_mean(name, names) {
        Some(meant) => fault.hint(format!("did you mean '{meant}'?")),
        None => fault,
    }
}
