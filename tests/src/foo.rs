//! The object behind the recorded messages: what each method of the original's example does.

use proximity_proto::{
    Array, Fault, Kwargs, ToReply, Value, expose, reply,
    time::{DateTime, TimeDelta},
};

/// The example object.
pub struct Foo;

/// `*args` and `**kwargs` as they came.
pub struct Both<'a>(Array<'a>, Kwargs<'a>);

impl ToReply for Both<'_> {
    fn to_reply(&self, out: &mut Vec<u8>) {
        reply::list_head(out, 2);
        self.0.to_reply(out);
        reply::map_head(out, self.1.iter().count());
        for (name, value) in self.1.iter() {
            reply::text(out, name);
            value.to_reply(out);
        }
    }

    fn ty() -> proximity_proto::arg::Type {
        proximity_proto::arg::Type::named("list")
    }
}

#[expose]
#[allow(missing_docs)] // undocumented where the original is
impl Foo {
    /// Adds two values together.
    ///     x: first value
    ///     y: second value
    ///
    /// returns: x + y
    pub fn add_two(&self, x: i64, y: i64) -> i64 {
        x + y
    }

    #[undocumented]
    pub fn div_two(&self, x: i64, y: i64) -> Result<i64, Fault> {
        x.checked_div(y)
            .ok_or_else(|| Fault::new("ZeroDivisionError", "integer division or modulo by zero"))
    }

    /// Returns its argument.
    pub fn echo<'a>(&self, v: Value<'a>) -> Value<'a> {
        v
    }

    /// args and kwargs back
    pub fn kw<'a>(&self, #[args] args: Array<'a>, #[kwargs] kwargs: Kwargs<'a>) -> Both<'a> {
        Both(args, kwargs)
    }

    #[undocumented]
    pub fn no_return(&self) {}

    #[undocumented]
    pub fn when(&self) -> DateTime {
        DateTime {
            year: 2016,
            month: 1,
            day: 15,
            hour: 12,
            minute: 34,
            second: 56,
            microsecond: 789,
        }
    }

    #[undocumented]
    pub fn howlong(&self) -> TimeDelta {
        TimeDelta { seconds: 86402.5 }
    }

    /// In the original it could be called; here an underscore hides it everywhere.
    pub fn _private(&self) -> &'static str {
        "secret"
    }
}
