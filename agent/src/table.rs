//! What can be seen and used of an object, laid out for finding it fast.

use crate::config::ObjectConfig;
use proximity_proto::{
    Fault, Interface, Object,
    object::{Attribute, Method, Way},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// An object's interface without what the configuration hides.
///
/// Made once when the object is opened; from then on it is the only place where names are looked up,
/// so that what is hidden is unknown everywhere.
pub(crate) struct Table {
    interface: Interface,
    methods: HashMap<String, usize>,
    /// The place of the method that was looked up last: each call is looked up twice, and clients repeat themselves.
    last: AtomicUsize,
    attributes: HashMap<String, usize>,
    /// The reply to `list_methods`.
    pub(crate) list_methods: Vec<u8>,
    /// The reply to `describe`.
    pub(crate) description: String,
    /// The way to its device, where it tells of one.
    pub(crate) way: Option<Arc<dyn Way>>,
    /// Changes when the interface does.
    pub(crate) hash: u64,
}

impl Table {
    /// What `config` shows of `object`.
    pub(crate) fn new(object: &dyn Object, config: &ObjectConfig) -> Self {
        let mut interface = object.interface();
        interface.methods.retain(|method| config.filter.allows(&method.name));
        interface.attributes.retain(|attribute| config.filter.allows(&attribute.name));
        let mut list_methods = Vec::new();
        interface.list_methods(&mut list_methods);
        let methods = interface.methods.iter().map(|method| method.name.clone());
        let attributes = interface.attributes.iter().map(|attribute| attribute.name.clone());
        Self {
            methods: methods.zip(0..).collect(),
            last: AtomicUsize::new(0),
            attributes: attributes.zip(0..).collect(),
            list_methods,
            description: interface.describe(&config.name),
            way: object.way(),
            hash: interface.hash(),
            interface,
        }
    }

    /// The method called `name`.
    pub(crate) fn method(&self, name: &str) -> Result<&Method, Fault> {
        let methods = &self.interface.methods;
        if let Some(last) = methods.get(self.last.load(Relaxed)).filter(|last| last.name == name) {
            return Ok(last);
        }
        let found = self.methods.get(name).and_then(|&place| {
            self.last.store(place, Relaxed);
            methods.get(place)
        });
        // The slow way writes the fault.
        found.map_or_else(|| self.interface.method(name), Ok)
    }

    /// The attribute called `name`.
    pub(crate) fn attribute(&self, name: &str) -> Result<&Attribute, Fault> {
        let found =
            self.attributes.get(name).and_then(|&place| self.interface.attributes.get(place));
        found.map_or_else(|| self.interface.attribute(name), Ok)
    }
}
