//! `#[expose]` and what an exposed object tells of itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test panics")]
#![allow(unreachable_pub, clippy::unused_self, reason = "`pub` and `self` are what exposes")]

use proximity_proto::{
    Array, Context, Effect, Fault, Interface, Kwargs, Later, Object, Principal, ToReply, Value,
    arg::{FromArg, Mismatch, Type},
    expose,
    fault::did_you_mean,
    object::{Args, Flow, Host},
    request::Arguments,
};
use std::{cell::RefCell, time::Duration};

/// A lamp with a colour.
struct Lamp {
    level: u8,
}

/// What the lamp says of itself.
#[derive(ToReply)]
struct State<'a> {
    level: u8,
    r#type: &'a str,
}

/// An alias, as many crates have one.
type Answer<T> = Result<T, Fault>;

/// A lamp.
///
/// Needs no power.
#[expose]
impl Lamp {
    /// Is no method: it has no receiver.
    pub fn new(level: u8) -> Self {
        Self { level }
    }

    /// Sets how bright it shines.
    ///
    /// out: 0 to 255
    /// cx: a colour
    ///
    /// raises ValueError: the colour is unknown
    #[effect(admin)]
    pub fn shine(&mut self, out: u8, #[default("white")] cx: &str) -> Answer<u8> {
        if cx != "white" {
            return Err(Fault::value_error(format!("no colour '{cx}'; there is: white")));
        }
        self.level = out;
        Ok(self.level)
    }

    /// Names that the generated code uses itself, and a keyword.
    #[quick]
    pub fn names(&self, args: i64, method: i64, bound: i64, index: i64, r#type: i64) -> i64 {
        args * 10_000 + method * 1_000 + bound * 100 + index * 10 + r#type
    }

    #[undocumented]
    pub fn gather(
        &self,
        first: Value<'_>,
        #[args] rest: Array<'_>,
        #[kwargs] named: Kwargs<'_>,
    ) -> String {
        let named: Vec<_> = named.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{first:?} {rest:?} {}", named.join(" "))
    }

    /// Borrows what it returns.
    pub fn echo<'a>(&'a self, raw: &'a [u8]) -> &'a [u8] {
        raw
    }

    /// Tells everything.
    pub fn state(&self) -> State<'static> {
        State { level: self.level, r#type: "lamp" }
    }

    /// Waits, and does not hold its object meanwhile.
    ///
    /// raises ValueError: it is too long
    pub fn warm_up(&mut self, cx: &Context<'_>, seconds: u64) -> Answer<Later<Self, bool>> {
        if seconds > 60 {
            return Err(Fault::value_error(format!("{seconds} s is too long; at most 60")));
        }
        cx.progress(0, seconds, "warming up");
        Ok(Later::at(cx.now() + Duration::from_secs(seconds), |lamp: &mut Self, _| {
            Ok(Later::Ready(lamp.level > 0))
        }))
    }

    /// How bright it shines.
    #[quick]
    #[attribute]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Sets how bright it shines.
    #[attribute]
    pub fn set_level(&mut self, level: u8) {
        self.level = level;
    }

    /// Who made it.
    #[attribute]
    pub fn maker(&self) -> &'static str {
        "us"
    }

    fn private(&self) -> u8 {
        self.level
    }

    /// A leading underscore hides.
    pub fn _hidden(&self) -> u8 {
        self.private()
    }
}

#[derive(Default)]
struct Nobody(RefCell<Vec<String>>);

impl Host for Nobody {
    fn now(&self) -> Duration {
        Duration::from_secs(100)
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn progress(&self, done: u64, total: u64, text: &str) {
        self.0.borrow_mut().push(format!("{done}/{total} {text}"));
    }
}

static LOCAL: Principal = Principal::local();

fn call(lamp: &mut Lamp, name: &str, args: &Arguments) -> Result<Value<'static>, Fault> {
    let interface = lamp.interface();
    let method = interface.method(name)?;
    // The way that arguments take: written, then read where they lie.
    let mut bytes = Vec::new();
    proximity_proto::request::Request {
        op: proximity_proto::call::Op::Call,
        id: proximity_proto::call::CallId { client: [0; 16], seq: 0 },
        epoch: None,
        expires: None,
        lease: None,
        credit: None,
        progress: false,
        name: "lamp",
        proc: name,
        args,
    }
    .write(&mut bytes);
    let call =
        proximity_proto::call::Call::parse(&bytes, &proximity_proto::limits::Limits::default())
            .map_err(|bad| bad.fault)?;
    let mut out = Vec::new();
    let host = Nobody::default();
    match lamp.call(method, call.args, &Context::new(&host, None, &LOCAL), &mut out)? {
        Flow::Done => Ok(Value::first(out.leak()).unwrap()),
        Flow::Later(resume) => {
            assert_eq!(host.0.take(), ["0/3 warming up"]);
            assert_eq!(resume.at, Duration::from_secs(103));
            let cx = Context::new(&host, None, &LOCAL);
            assert!(matches!((resume.run)(lamp, &cx, &mut out)?, Flow::Done));
            Ok(Value::first(out.leak()).unwrap())
        }
        Flow::Lost(_) => panic!("a lamp is here or not"),
    }
}

fn args(values: &[&dyn Fn(&mut Arguments)]) -> Arguments {
    let mut args = Arguments::default();
    for value in values {
        value(&mut args);
    }
    args
}

#[test]
fn methods_run_with_their_arguments_and_defaults() {
    let mut lamp = Lamp::new(0);
    let one = args(&[&|args| args.push(&7)]);
    assert_eq!(call(&mut lamp, "shine", &one), Ok(Value::Uint(7)));
    let red = args(&[&|args| args.push(&8), &|args| args.push_named("cx", "red")]);
    let fault = call(&mut lamp, "shine", &red).unwrap_err();
    assert_eq!(fault.to_string(), "ValueError: no colour 'red'; there is: white");
    assert_eq!(lamp.level, 7);
    let big = args(&[&|args| args.push(&256)]);
    let fault = call(&mut lamp, "shine", &big).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "ValueError: argument 'out' of shine() is 256; it must be 0 to 255"
    );
}

#[test]
fn parameters_may_have_any_name() {
    let five = args(&[
        &|args| args.push(&1),
        &|args| args.push(&2),
        &|args| args.push(&3),
        &|args| args.push(&4),
        &|args| args.push_named("type", &5),
    ]);
    assert_eq!(call(&mut Lamp::new(0), "names", &five), Ok(Value::Uint(12_345)));
}

#[test]
fn the_rest_is_collected() {
    let many = args(&[
        &|args| args.push(&1),
        &|args| args.push(&2),
        &|args| args.push("three"),
        &|args| args.push_named("k", &4),
        &|args| args.push_named("l", &()),
    ]);
    let gathered = call(&mut Lamp::new(0), "gather", &many).unwrap();
    assert_eq!(gathered, Value::Text("Uint(1) [Uint(2), Text(\"three\")] k=Uint(4) l=Nil"));
    let first = args(&[&|args| args.push_named("first", &1)]);
    assert_eq!(call(&mut Lamp::new(0), "gather", &first), Ok(Value::Text("Uint(1) [] ")));
}

#[test]
fn results_may_be_borrowed_or_structs_or_late() {
    let raw = args(&[&|args| args.push(&b"\0\xff"[..])]);
    assert_eq!(call(&mut Lamp::new(0), "echo", &raw), Ok(Value::Bytes(&[0, 0xff])));
    let state = call(&mut Lamp::new(3), "state", &Arguments::default()).unwrap();
    assert_eq!(
        format!("{state:?}"),
        r#"Map({Text("level"): Uint(3), Text("type"): Text("lamp")})"#
    );
    let wait = args(&[&|args| args.push(&3)]);
    assert_eq!(call(&mut Lamp::new(1), "warm_up", &wait), Ok(Value::Bool(true)));
}

#[test]
fn attributes_are_read_and_set() {
    let mut lamp = Lamp::new(5);
    let interface = lamp.interface();
    let (host, mut out) = (Nobody::default(), Vec::new());
    let cx = Context::new(&host, None, &LOCAL);
    let level = interface.attribute("level").unwrap();
    assert!(matches!(lamp.get(level, &cx, &mut out), Ok(Flow::Done)));
    assert_eq!(out, [5]);
    out.clear();
    assert!(matches!(lamp.set(level, Value::Uint(9), &cx, &mut out), Ok(Flow::Done)));
    assert_eq!((lamp.private(), &out[..]), (9, &[0xc0][..]));
    let mut refused = |name: &str, value| {
        let attribute = interface.attribute(name).unwrap();
        lamp.set(attribute, value, &cx, &mut out).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        refused("level", Value::Int(-1)),
        "ValueError: attribute 'level' is -1; it must be 0 to 255"
    );
    assert_eq!(
        refused("maker", Value::Text("me")),
        "AttributeError: attribute 'maker' can only be read"
    );
    assert_eq!(lamp.level, 9);
}

#[test]
fn effects_and_quickness_are_told() {
    let interface = Lamp::new(0).interface();
    let method = |name| interface.method(name).unwrap();
    assert_eq!(method("shine").effect, Effect::Admin);
    assert_eq!(method("echo").effect, Effect::Read, "&self");
    assert_eq!(method("warm_up").effect, Effect::Write, "&mut self");
    assert!(method("names").quick && !method("shine").quick);
    assert!(interface.attribute("level").unwrap().quick);
}

#[test]
fn list_methods_is_the_originals() {
    let mut out = Vec::new();
    Lamp::new(0).interface().list_methods(&mut out);
    let Some(list @ Value::Array(_)) = Value::first(&out) else { panic!("a list") };
    let list = Vec::<Vec<&str>>::from_arg(list).unwrap();
    let expected = [
        [
            "shine",
            "usage: shine(out, cx)\nSets how bright it shines.\n\nout: 0 to 255\ncx: a colour\n\n\
             raises ValueError: the colour is unknown",
        ],
        [
            "names",
            "usage: names(args, method, bound, index, type)\n\
             Names that the generated code uses itself, and a keyword.",
        ],
        ["gather", "usage: gather(first)\n"],
        ["echo", "usage: echo(raw)\nBorrows what it returns."],
        ["state", "usage: state()\nTells everything."],
        [
            "warm_up",
            "usage: warm_up(seconds)\nWaits, and does not hold its object meanwhile.\n\n\
             raises ValueError: it is too long",
        ],
    ];
    assert_eq!(list, expected);
}

#[test]
fn describe_tells_all_of_it() {
    let definition: serde_json::Value =
        serde_json::from_str(&Lamp::new(0).interface().describe("home.lamp")).unwrap();
    assert_eq!(definition["name"], "home.lamp");
    assert_eq!(definition["doc"], "A lamp.\n\nNeeds no power.");
    let shine = serde_json::json!({
        "name": "shine",
        "usage": "usage: shine(out, cx)",
        "doc": "Sets how bright it shines.\n\nout: 0 to 255\ncx: a colour\n\nraises ValueError: the colour is unknown",
        "params": [
            {"name": "out", "type": "int", "min": 0, "max": 255, "kind": "positional", "doc": "0 to 255"},
            {"name": "cx", "type": "str", "default": "white", "kind": "positional", "doc": "a colour"},
        ],
        "returns": "int",
        "effect": "admin",
        "errors": [{"class": "ValueError", "when": "the colour is unknown"}],
    });
    assert_eq!(definition["methods"][0], shine);
    let gather = &definition["methods"][2]["params"];
    assert_eq!((&gather[1]["kind"], &gather[2]["kind"]), (&"args".into(), &"kwargs".into()));
    assert_eq!(definition["methods"][4]["returns"], "dict");
    assert_eq!(definition["methods"][5]["returns"], "bool", "what comes in the end");
    assert_eq!(
        definition["attributes"],
        serde_json::json!([
            {"name": "level", "type": "int", "doc": "How bright it shines.", "settable": true},
            {"name": "maker", "type": "str", "doc": "Who made it.", "settable": false},
        ])
    );
    assert_eq!(definition["hash"], Lamp::new(0).interface().hash());
}

#[test]
fn the_hash_changes_with_everything_a_client_sees() {
    let interface = Lamp::new(0).interface();
    assert_eq!(
        interface.hash(),
        1_981_221_069_328_341_159,
        "the same on every machine, in every version"
    );
    let changed = |change: &dyn Fn(&mut Interface)| {
        let mut other = interface.clone();
        change(&mut other);
        assert_ne!(other.hash(), interface.hash());
    };
    changed(&|i| i.methods[0].name = "shone".into());
    changed(&|i| i.methods[0].doc = "Else.".into());
    changed(&|i| i.methods[0].effect = Effect::Read);
    changed(&|i| i.methods[0].returns = Type::named("str"));
    changed(&|i| i.methods[0].params[0].name = "in".into());
    changed(&|i| i.methods[0].params[0].ty.range = None);
    changed(&|i| i.methods[0].params[1].default = None);
    changed(&|i| i.methods.truncate(1));
    changed(&|i| i.attributes[0].settable = false);
    changed(&|i| i.attributes[1].ty = Type::named("int"));
}

#[test]
fn what_is_unknown_is_told_with_what_is_near() {
    let interface = Lamp::new(0).interface();
    let method = |name| {
        let fault = interface.method(name).unwrap_err();
        (fault.to_string(), fault.hint.unwrap_or_default())
    };
    assert_eq!(
        method("shin"),
        ("AttributeError: no method 'shin'".into(), "did you mean 'shine'?".into())
    );
    assert_eq!(method("nope").1, "there are: shine, names, gather, echo, state, warm_up");
    assert_eq!(method("level").1, "'level' is an attribute: get it or set it");
    assert_eq!(method("_hidden").0, "AttributeError: no method '_hidden'");
    assert_eq!(method("private").0, "AttributeError: no method 'private'");
    assert_eq!(method("a\nb").0, "AttributeError: no method 'a\\nb'");
    let attribute = interface.attribute("shine").unwrap_err();
    assert_eq!(attribute.hint.as_deref(), Some("'shine' is a method: call it"));
    assert_eq!(interface.method("nope").unwrap_err().unknown.as_deref(), Some("nope"));
}

#[test]
fn only_slips_are_taken_for_what_is_near() {
    let near = |given, known: &[&'static str]| did_you_mean(given, known.iter().copied());
    assert_eq!(near("siz", &["size", "offset"]), Some("size"));
    assert_eq!(
        near("sys_scratchpd", &["sys_clkcounter", "sys_scratchpad"]),
        Some("sys_scratchpad")
    );
    assert_eq!(near("srbz", &["slow", "srbs"]), Some("srbs"));
    assert_eq!(near("ad", &["add"]), Some("add"));
    assert_eq!(near("x", &["y", "z"]), None);
    assert_eq!(near("nope", &["note", "names", "shine"]), Some("note"));
    assert_eq!(near("write", &["read"]), None);
    assert_eq!(near("", &["a"]), None);
    // Letters that changed places are the commonest slip of all.
    assert_eq!(near("raed", &["read", "write"]), Some("read"));
    assert_eq!(near("dad", &["add"]), Some("add"));
    assert_eq!(near("lsit", &["list", "last"]), Some("list"));
    assert_eq!(near("foo", &["ofo", "fob"]), Some("fob"));
    assert_eq!(near("sys_scartchpda", &["sys_scratchpad"]), Some("sys_scratchpad"));
    // Letters may be any, and names as long as a stranger likes.
    assert_eq!(near("größe", &["gröeß", "höhe"]), Some("gröeß"));
    assert_eq!(near(&"x".repeat(1 << 20), &["read"; 1000]), None);
}

#[test]
fn what_was_meant_is_found_for_the_same_slips_as_by_the_whole_table() {
    let mut words = vec![String::new()];
    for letters in 0..5 {
        let longest = words.iter().filter(|word| word.len() == letters);
        let next: Vec<String> =
            longest.flat_map(|word| ["a", "b"].map(|l| word.clone() + l)).collect();
        words.extend(next);
    }
    // Letters that are alike at both ends, so that four slips are few enough.
    let words: Vec<String> = words.iter().map(|word| format!("length{word}ened")).collect();
    for given in &words {
        for meant in &words {
            let slips = whole_table(given.as_bytes(), meant.as_bytes());
            let few = slips <= (given.len().max(meant.len()) / 3).min(4);
            let found = did_you_mean(given, std::iter::once(meant.as_str()));
            assert_eq!(found.is_some(), few, "{given}, {meant}: {slips}");
        }
    }
}

/// The distance of optimal string alignment, as the books have it.
fn whole_table(left: &[u8], right: &[u8]) -> usize {
    let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            table[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let (a, b) = (left[i - 1], right[j - 1]);
                    let changed = table[i - 1][j - 1] + usize::from(a != b);
                    let cell = changed.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                    if i > 1 && j > 1 && left[i - 2] == b && right[j - 2] == a {
                        cell.min(table[i - 2][j - 2] + 1)
                    } else {
                        cell
                    }
                }
            };
        }
    }
    table[left.len()][right.len()]
}

#[test]
fn what_is_longer_than_anybody_types_is_not_compared() {
    let near = |given: &str, known: &str| did_you_mean(given, std::iter::once(known)).is_some();
    let (long, longer) = ("x".repeat(64), "x".repeat(65));
    assert!(near(&long[1..], &long) && near(&long, &long));
    assert!(!near(&long, &longer) && !near(&longer, &long) && !near(&longer, &longer));
    // A word of many letters may have no more slips than one of twelve.
    assert!(near(&format!("{}1234", &long[4..]), &long));
    assert!(!near(&format!("{}12345", &long[5..]), &long));
}

#[test]
fn an_own_type_can_be_a_parameter() {
    #[derive(Debug, PartialEq)]
    struct Even(u64);
    impl FromArg<'_> for Even {
        fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
            match value {
                Value::Uint(number) if number % 2 == 0 => Ok(Self(number)),
                Value::Uint(_) => Err(Mismatch::Refused { must_be: "even".into() }),
                _ => Err(Mismatch::wrong("an even number", &value)),
            }
        }

        fn ty() -> Type {
            Type::named("int")
        }
    }
    assert_eq!(Even::from_arg(Value::Uint(4)), Ok(Even(4)));
    let sentence = |value| Even::from_arg(value).unwrap_err().fault("argument 'n'").to_string();
    assert_eq!(sentence(Value::Uint(3)), "ValueError: argument 'n' must be even");
    assert_eq!(sentence(Value::Nil), "TypeError: argument 'n' must be an even number, not None");
    assert_eq!(Args::NONE.positional.len(), 0);
}
