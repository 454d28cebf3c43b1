//! The file's own keys, and what all keys need: places, lists, mistakes.

use super::{
    Bounds, Config, DEFAULT_QUEUE, Endpoint, ObjectConfig, bounds,
    finding::{Finding, Findings, Source, about_file},
    object, syntax,
};
use crate::access::{Network, Networks};
use log::LevelFilter;
use proximity_drivers::settings::{Mistake, Settings, kind_of};
use proximity_proto::limits::Limits;
use proximity_session::Legacy;
use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    path::PathBuf,
    str::FromStr,
};
use toml::{
    Spanned, Table,
    de::{DeTable, DeValue},
};

/// Where to listen unless told: where only this machine can come.
const DEFAULT_LISTEN: Endpoint = Endpoint::Tcp { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 5555 };

/// Calls that may wait for an object, at most.
const MAX_QUEUE: i64 = 1024;

/// Reads a configuration and gathers what is wrong with it.
pub(super) struct Reader<'a> {
    pub(super) source: Source<'a>,
    /// Whether to open the objects and try the patterns on what they have.
    pub(super) open: bool,
    found: Findings,
}

/// What was read of one text of a list, and where it stands.
pub(super) type Placed<T> = (Range<usize>, T);

/// A value could not be read; the mistake is noted.
pub(super) struct Noted;

impl<'a> Reader<'a> {
    pub(super) fn new(source: Source<'a>, open: bool) -> Self {
        Self { source, open, found: Findings::default() }
    }

    /// Reads all of it.
    pub(super) fn read(mut self) -> Result<(Config, Vec<Finding>), Findings> {
        let syntax = syntax::parse(&self.source);
        let config = self.config(&syntax.table);
        let mut found = self.found;
        for list in [&mut found.mistakes, &mut found.warnings] {
            list.retain(|finding| finding.place.is_none_or(|(line, _)| syntax.understood(line)));
        }
        found.mistakes.extend(syntax.mistakes);
        if found.mistakes.is_empty() && config.objects.is_empty() {
            let message = "there is no [objects.NAME]; the agent has nothing to offer";
            found.warnings.push(about_file(self.source.file, message));
        }
        for list in [&mut found.mistakes, &mut found.warnings] {
            list.sort_by_key(|finding| finding.place);
        }
        if found.mistakes.is_empty() { Ok((config, found.warnings)) } else { Err(found) }
    }

    /// The configuration in `table`; only to be used if no mistake was found.
    fn config(&mut self, table: &DeTable<'_>) -> Config {
        let mut own = self.plain_table(table, "objects");
        self.refuse_keys_and_roles(&mut own, table);
        let mut settings = Settings::new(&own, &["objects"]);
        let listen = self.listen(&mut settings, table);
        let networks = self.list::<Network>(&mut settings, table, "plaintext", None);
        if let (Ok(listen), Ok(networks)) = (&listen, &networks) {
            self.who_may_come(table, listen, networks.as_deref().unwrap_or_default());
        }
        let legacy = bounds::legacy(&mut settings).unwrap_or_default();
        let config = Config {
            listen: listen.into_iter().flatten().map(|(_, endpoint)| endpoint).collect(),
            plaintext: networks
                .into_iter()
                .flatten()
                .flatten()
                .map(|(_, network)| network)
                .collect::<Networks>(),
            limits: Limits { max_frame: bounds::max_frame(&mut settings), ..Limits::default() },
            queue: bounds::number(&mut settings, "queue", 1..=MAX_QUEUE, DEFAULT_QUEUE),
            bounds: Bounds::read(&mut settings),
            legacy,
            log: log_level(&mut settings),
            audit: audit(&mut settings),
            objects: self.objects(table, legacy),
        };
        self.mistakes(settings.finish(), table, 0..0, |key| {
            object::KEYS.contains(&key).then(|| format!("'{key}' stands below [objects.NAME]"))
        });
        config
    }

    /// Where to listen.
    fn listen(
        &mut self,
        settings: &mut Settings<'_>,
        table: &DeTable<'_>,
    ) -> Result<Vec<Placed<Endpoint>>, Noted> {
        let Some(listen) = self.list::<Endpoint>(settings, table, "listen", None)? else {
            return Ok(vec![(0..0, DEFAULT_LISTEN)]);
        };
        if listen.is_empty() {
            let span = value_span(table, "listen");
            self.mistake(span, "'listen' is empty; nobody could reach the agent", None);
        }
        for (index, (span, endpoint)) in listen.iter().enumerate() {
            if listen.iter().take(index).any(|(_, earlier)| earlier == endpoint) {
                self.mistake(span.clone(), format!("'{endpoint}' stands twice in 'listen'"), None);
            }
        }
        Ok(listen)
    }

    /// Whether the endpoints and the networks go together.
    fn who_may_come(
        &mut self,
        table: &DeTable<'_>,
        listen: &[Placed<Endpoint>],
        networks: &[Placed<Network>],
    ) {
        let mut open = listen.iter().filter(|(_, endpoint)| !endpoint.is_local()).peekable();
        if networks.is_empty() {
            for (span, endpoint) in open {
                let message = format!(
                    "'{endpoint}' can be reached from other machines, \
                     and nothing says who may come unencrypted"
                );
                let hint = "below it write plaintext = [\"10.1.0.0/16\"] with the networks that \
                            may come; or listen on 127.0.0.1 only";
                self.mistake(span.clone(), message, Some(hint));
            }
        } else if open.peek().is_none() {
            let message = "'plaintext' changes nothing: nobody but this machine reaches 'listen'";
            self.warning(key_span(table, "plaintext"), message, None);
        }
        for (span, network) in networks {
            if network.is_everybody() {
                let message = format!("'{network}' lets everybody come unencrypted");
                self.warning(span.clone(), message, None);
            }
        }
    }

    fn objects(&mut self, table: &DeTable<'_>, legacy: Legacy) -> Vec<ObjectConfig> {
        match table.get("objects").map(Spanned::get_ref) {
            Some(DeValue::Table(tables)) => object::read_all(self, tables, legacy),
            Some(_) => {
                let span = key_span(table, "objects");
                self.mistake(span, "'objects' must be a table", Some("write [objects.NAME]"));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Refuses what would be dangerous to ignore: a reader of the file would feel protected.
    pub(super) fn refuse_keys_and_roles(&mut self, own: &mut Table, table: &DeTable<'_>) {
        for key in ["keys", "roles"] {
            if own.remove(key).is_some() {
                let message = format!("'{key}' is not supported yet; refused rather than ignored");
                let hint = "'plaintext' says who may come from other machines, \
                            'expose' and 'hide' say what they may use";
                self.mistake(key_span(table, key), message, Some(hint));
            }
        }
    }

    /// The list of texts of `key`, each read as a `T`; `Ok(None)` if there is no such key.
    pub(super) fn list<T: FromStr<Err: Display>>(
        &mut self,
        settings: &mut Settings<'_>,
        table: &DeTable<'_>,
        key: &'static str,
        hint: Option<&str>,
    ) -> Result<Option<Vec<Placed<T>>>, Noted> {
        // The settings tell no places; they are asked so that they know the key.
        let Some(plain) = settings.any(key) else { return Ok(None) };
        let Some(DeValue::Array(list)) = table.get(key).map(Spanned::get_ref) else {
            let message = format!("'{key}' must be a list of texts, not {}", kind_of(plain));
            let hint = plain.as_str().map(|text| format!("write {key} = [\"{text}\"]"));
            self.mistake(value_span(table, key), message, hint.as_deref());
            return Err(Noted);
        };
        let kinds = plain.as_array().into_iter().flatten().map(kind_of);
        let mut read = Vec::new();
        for (entry, kind) in list.iter().zip(kinds) {
            let span = entry.span();
            match entry.get_ref().as_str().map(T::from_str) {
                Some(Ok(value)) => read.push((span, value)),
                Some(Err(error)) => self.mistake(span, error.to_string(), hint),
                None => {
                    self.mistake(span, format!("'{key}' must hold texts only, not {kind}"), None);
                }
            }
        }
        if read.len() == list.len() { Ok(Some(read)) } else { Err(Noted) }
    }

    /// The values of `table` without their places, all but that of `skipped`.
    pub(super) fn plain_table(&mut self, table: &DeTable<'_>, skipped: &str) -> Table {
        let entries = table.iter().filter(|(key, _)| key.get_ref() != skipped);
        syntax::plain_table(entries, &mut |span, message| self.mistake(span, message, None))
    }

    /// Takes over what the settings of `table` found; what has no key is told at `whole`, and what is
    /// unknown with a hint.
    pub(super) fn mistakes(
        &mut self,
        found: Vec<Mistake>,
        table: &DeTable<'_>,
        whole: Range<usize>,
        unknown_hint: impl Fn(&str) -> Option<String>,
    ) {
        for Mistake { key, unknown, message } in found {
            let span = match &key {
                Some(key) if unknown => key_span(table, key),
                Some(key) => value_span(table, key),
                None => whole.clone(),
            };
            let hint = key.filter(|_| unknown).and_then(|key| unknown_hint(&key));
            self.mistake(span, message, hint.as_deref());
        }
    }

    pub(super) fn mistake(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<&str>,
    ) {
        let finding = self.source.finding(span, message, hint.map(str::to_owned));
        self.found.mistakes.push(finding);
    }

    pub(super) fn warning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<&str>,
    ) {
        let finding = self.source.finding(span, message, hint.map(str::to_owned));
        self.found.warnings.push(finding);
    }
}

/// Where the name of `key` stands.
pub(super) fn key_span(table: &DeTable<'_>, key: &str) -> Range<usize> {
    table.get_key_value(key).map(|(key, _)| key.span()).unwrap_or_default()
}

/// Where the value of `key` stands.
pub(super) fn value_span(table: &DeTable<'_>, key: &str) -> Range<usize> {
    table.get(key).map(Spanned::span).unwrap_or_default()
}

/// Where the audit is kept.
fn audit(settings: &mut Settings<'_>) -> Option<PathBuf> {
    let path = settings.text("audit")?;
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        settings.refuse("audit", format!("'audit' is {path:?}; it must be a file's whole path"));
    }
    Some(path.into())
}

/// What to log.
fn log_level(settings: &mut Settings<'_>) -> LevelFilter {
    const DEFAULT: LevelFilter = LevelFilter::Info;
    let Some(word) = settings.text("log") else { return DEFAULT };
    let level = LevelFilter::iter().find(|level| level.as_str().to_ascii_lowercase() == word);
    level.unwrap_or_else(|| {
        let words = "off, error, warn, info, debug or trace";
        settings.refuse("log", format!("'log' is \"{word}\"; it must be {words}"));
        DEFAULT
    })
}
