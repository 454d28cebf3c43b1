//! What went wrong, as a caller on the other side of the wire gets it.
//!
//! A fault has a class (the name of the Python builtin that fits, so that `except KeyError` works),
//! one line of fact, and behind it the detail and a hint.

use alloc::{borrow::Cow, string::String, string::ToString, vec::Vec};
use core::{array::from_fn, error::Error, fmt, iter::repeat_n, mem::replace, time::Duration};

/// An error on its way to a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name of a Python exception.
    pub class: Cow<'static, str>,
    /// One line of fact: what, to which object or register, the offending value, the allowed ones.
    pub message: String,
    /// What lies behind it, outermost first: the chain of sources.
    pub detail: Vec<String>,
    /// Advice, where there is some.
    pub hint: Option<String>,
    /// The name that was not found, where that is the fault: old clients get the original's form,
    /// `KeyError` with the name in quotes for a message.
    pub unknown: Option<String>,
    /// Whether it was found before the method ran: the arguments did not fit.
    pub before: bool,
    /// Who has the object for himself, where that is the fault.
    pub locked: Option<Locked>,
}

/// Somebody else's lease of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Who it is, and where.
    pub holder: String,
    /// When it ends unless it is renewed.
    pub expires_in: Duration,
}

impl Fault {
    /// A fault of the named Python class.
    pub fn new(class: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (class, message) = (class.into(), message.into());
        let (detail, hint, unknown, locked) = (Vec::new(), None, None, None);
        Self { class, message, detail, hint, unknown, before: false, locked }
    }

    /// A fault of the named Python class with an error's text; the error's sources are the detail.
    pub fn from_error(class: &'static str, error: &dyn Error) -> Self {
        let mut fault = Self::new(class, error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            fault.detail.push(error.to_string());
            source = error.source();
        }
        fault
    }

    /// Wrong kind or number of arguments.
    pub fn type_error(message: impl Into<String>) -> Self {
        Self::new("TypeError", message)
    }

    /// A value that is not allowed.
    pub fn value_error(message: impl Into<String>) -> Self {
        Self::new("ValueError", message)
    }

    /// An unknown object, register or key.
    pub fn key_error(message: impl Into<String>) -> Self {
        Self::new("KeyError", message)
    }

    /// An unknown method or attribute.
    pub fn attribute_error(message: impl Into<String>) -> Self {
        Self::new("AttributeError", message)
    }

    /// Refused by the device, or nothing that the caller did.
    pub fn runtime_error(message: impl Into<String>) -> Self {
        Self::new("RuntimeError", message)
    }

    /// The device did not answer in time.
    pub fn timeout_error(message: impl Into<String>) -> Self {
        Self::new("TimeoutError", message)
    }

    /// There is no link to the device.
    pub fn connection_error(message: impl Into<String>) -> Self {
        Self::new("ConnectionError", message)
    }

    /// The same fault with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault with one more line of detail.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.detail.push(line.into());
        self
    }

    /// The same fault, found before the method ran.
    #[must_use]
    pub fn before(mut self) -> Self {
        self.before = true;
        self
    }

    /// The same fault, told with who has the object, and for how long.
    #[must_use]
    pub fn locked(mut self, holder: impl Into<String>, expires_in: Duration) -> Self {
        self.locked = Some(Locked { holder: holder.into(), expires_in });
        self
    }

    /// The same fault, known to old clients as an unknown `name`.
    #[must_use]
    pub fn unknown(mut self, name: &str) -> Self {
        self.unknown = Some(name.to_string());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl Error for Fault {}

/// Whether a call's method ran, as far as the agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// It ran.
    Yes,
    /// It did not, and will not.
    No,
    /// It was started, and how far it came is not known.
    Unknown,
}

impl Executed {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Executed::Yes => "yes",
            Executed::No => "no",
            Executed::Unknown => "unknown",
        }
    }

    /// The meaning of the word on the wire.
    pub fn from_word(word: &str) -> Option<Self> {
        [Executed::Yes, Executed::No, Executed::Unknown].into_iter().find(|e| e.as_str() == word)
    }
}

/// Why the agent itself, not the object, refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// The call was made for an earlier run of the agent.
    StaleEpoch,
    /// The call's time was over before its method could run, or end.
    Expired,
    /// The object's queue is full, or the agent has no room for another large reply.
    Busy,
    /// The caller took the call back.
    Cancelled,
    /// The agent is stopping.
    Draining,
    /// The call's number lies before all that the agent remembers of its client.
    TooOld,
    /// Somebody else holds the object's lease.
    Locked,
    /// The object failed and is being reopened, or could not be.
    Failed,
    /// The object was taken out of the configuration.
    Removed,
    /// The lease that the call names has ended, or was taken away.
    LeaseLost,
    /// The connection has as many calls in progress as it may have.
    TooManyInFlight,
    /// The connection has not read the replies that it was sent.
    RepliesUnread,
    /// The agent has as many connections as it may have.
    TooManyPeers,
    /// More clients have called of late than the agent can remember.
    TooManyClients,
    /// The call's `expires` lies further ahead than the agent takes.
    ExpiresTooFar,
    /// The call has run, and its result is no longer there.
    ReplyNotKept,
    /// It must be written down, and cannot be.
    AuditUnavailable,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 17] = [
        Reason::StaleEpoch,
        Reason::Expired,
        Reason::Busy,
        Reason::Cancelled,
        Reason::Draining,
        Reason::TooOld,
        Reason::Locked,
        Reason::Failed,
        Reason::Removed,
        Reason::LeaseLost,
        Reason::TooManyInFlight,
        Reason::RepliesUnread,
        Reason::TooManyPeers,
        Reason::TooManyClients,
        Reason::ExpiresTooFar,
        Reason::ReplyNotKept,
        Reason::AuditUnavailable,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::StaleEpoch => "StaleEpoch",
            Reason::Expired => "Expired",
            Reason::Busy => "Busy",
            Reason::Cancelled => "Cancelled",
            Reason::Draining => "Draining",
            Reason::TooOld => "TooOld",
            Reason::Locked => "Locked",
            Reason::Failed => "Failed",
            Reason::Removed => "Removed",
            Reason::LeaseLost => "LeaseLost",
            Reason::TooManyInFlight => "TooManyInFlight",
            Reason::RepliesUnread => "RepliesUnread",
            Reason::TooManyPeers => "TooManyPeers",
            Reason::TooManyClients => "TooManyClients",
            Reason::ExpiresTooFar => "ExpiresTooFar",
            Reason::ReplyNotKept => "ReplyNotKept",
            Reason::AuditUnavailable => "AuditUnavailable",
        }
    }

    /// The meaning of the word on the wire.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Names of more bytes than this are not compared: they come from outside as long as they may be, and nobody
/// types them.
const LONGEST: usize = 64;

/// More slips than this make another word, however long it is.
const MOST: usize = 4;

/// What is compared of two words: letters whose places differ by no more than the slips there may be.
const BAND: usize = 2 * MOST + 1;

/// The name in `known` that a person who wrote `given` most likely meant.
pub fn did_you_mean<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > LONGEST {
        return None;
    }
    let letters: Vec<char> = given.chars().collect();
    let mut meant = Vec::with_capacity(LONGEST + 3 * MOST);
    known
        .filter(|name| name.len() <= LONGEST)
        .filter_map(|name| {
            meant.clear();
            meant.extend(repeat_n(None, MOST));
            meant.extend(name.chars().map(Some));
            meant.extend(repeat_n(None, 2 * MOST));
            slips(&letters, &meant).zip(Some(name))
        })
        .min()
        .map(|(_, name)| name)
}

/// How many slips made `given` of `meant`, which has room on both sides; `None` where that is another
/// word. A third of the letters wrong is a slip, more is not.
fn slips(given: &[char], meant: &[Option<char>]) -> Option<usize> {
    let length = meant.iter().flatten().count();
    let most = (given.len().max(length) / 3).min(MOST);
    let end = (length + MOST).checked_sub(given.len())?;
    let is_near = given.len().abs_diff(length) <= most;
    is_near.then(|| distance(given, meant, end)).filter(|&slips| slips <= most)
}

/// Letters to insert, drop, change, or swap with the next, to make `left` of `right` (the distance of
/// optimal string alignment), which lies at `end` of the last row; some number above [`MOST`] where there
/// are more.
fn distance(left: &[char], right: &[Option<char>], end: usize) -> usize {
    const FAR: usize = MOST + 1;
    // The middle of a row is the table's diagonal: a place lies one letter further in the row below.
    let mut two_above = [FAR; BAND];
    let mut above: [usize; BAND] = from_fn(|place| place.checked_sub(MOST).unwrap_or(FAR));
    let mut left_before = None;
    let mut letters_before = &[None; BAND][..];
    for (&a, letters) in left.iter().zip(right.windows(BAND)) {
        let mut row = [FAR; BAND];
        let mut cell = FAR;
        let ups = above.iter().skip(1).chain(&[FAR]);
        let around = above.iter().zip(ups).zip(&two_above);
        let letters_of_row = letters.iter().zip(letters_before);
        for ((place, (&b, &b_before)), ((diagonal, up), two_before)) in
            row.iter_mut().zip(letters_of_row).zip(around)
        {
            cell = (diagonal + usize::from(b != Some(a))).min(up + 1).min(cell + 1);
            if b == left_before && b_before == Some(a) {
                cell = cell.min(two_before + 1);
            }
            *place = cell;
        }
        if row.iter().all(|&slips| slips > MOST) {
            return FAR;
        }
        (left_before, letters_before) = (Some(a), letters);
        two_above = replace(&mut above, row);
    }
    above.get(end).map_or(FAR, |&slips| slips)
}
