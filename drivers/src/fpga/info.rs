//! What a design tells of itself: revision, devices, named bit-fields; and what the board measures of itself.

use super::{
    Fpga, FpgaError,
    devices::Bits,
    fields::Field,
    files::uncompressed,
    lossy,
    plain::{Dict, Plain},
};
use crate::katcp_client::Limit;
use proximity_proto::{Context, Map, expose, gateware::Gateware};
use std::collections::BTreeMap;

/// The most lines of metadata taken from a board. A large design has a few thousand.
const MOST: usize = 100_000;
/// The device that stands for the design itself, and the one that has its revisions.
const SYSTEM: &str = "77777";
const SYSTEM_RCS: &str = "77777_git";

/// A design: what its file or the board tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Design {
    /// Address and size in bytes, by name.
    registers: BTreeMap<String, (Option<u64>, Option<u64>)>,
    devices: BTreeMap<String, Device>,
}

/// A device of a design.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Device {
    /// Its kind, as `xps:sw_reg`.
    tag: String,
    parameters: Vec<(String, String)>,
}

#[expose(part = Info)]
impl Fpga {
    /// Tells the revisions that a design was made from, by a block of its that holds them.
    ///
    /// rcs_block_name: the block's name
    /// returns: a dictionary: user, and of app and lib each either the time it was made, compile_timestamp and
    ///   app_last_modified, or rcs_type, rev and dirty
    ///
    /// Nothing on the board changes.
    ///
    /// raises KeyError: the running gateware has no such block
    #[effect(read)]
    pub fn get_rcs(
        &mut self,
        cx: &Context<'_>,
        #[default("rcs")] rcs_block_name: &str,
    ) -> Result<Dict, FpgaError> {
        let limit = self.limit(cx, 0);
        let mut rcs = Dict::default();
        rcs.add("user", self.read_word(&limit, &format!("{rcs_block_name}_user"), 0)?);
        for (part, made) in [("lib", "compile_timestamp"), ("app", "app_last_modified")] {
            let word = self.read_word(&limit, &format!("{rcs_block_name}_{part}"), 0)?;
            if word >> 31 == 1 {
                rcs.add(made, word & 0x7fff_ffff);
            } else {
                rcs.add(
                    format!("{part}_rcs_type"),
                    if word >> 30 & 1 == 1 { "svn" } else { "git" },
                );
                rcs.add(format!("{part}_dirty"), word >> 28 & 1 == 1);
                rcs.add(format!("{part}_rev"), word & 0x0fff_ffff);
            }
        }
        Ok(rcs)
    }

    /// Tells all that is known of a design: its registers with their bit-fields, and its other devices.
    ///
    /// filename: the content of a .fpg or .bof file, also compressed, or the name of one in the agent's gateware_dir;
    ///   None for the running design
    /// returns: a dictionary: system_info, rcs, registers, snapshots, sbrams, gbes, qdrs, devices
    ///
    /// A running design that was loaded from a .bof tells its registers' names, sizes and addresses only. Nothing
    /// on the board changes.
    ///
    /// raises ValueError: it is no gateware
    /// raises FileNotFoundError: the agent's gateware_dir has no such file
    #[effect(read)]
    pub fn get_system_information(
        &mut self,
        cx: &Context<'_>,
        #[default(None)] filename: Option<&[u8]>,
    ) -> Result<Dict, FpgaError> {
        if let Some(filename) = filename {
            let file = self.file(Some(filename), None)?;
            let whole = uncompressed(&file.bytes)?;
            return Ok(Design::of_file(&Gateware::parse(&whole)?).to_dict());
        }
        let limit = self.limit(cx, 0);
        self.running_design(&limit).map(Design::to_dict)
    }

    /// Reads a register by its named bit-fields.
    ///
    /// device_name: a register that the design describes, see get_system_information()
    /// returns: a dictionary of the fields' values: int, float where there is a binary point, or bool
    ///
    /// A register without a description has one field, reg. Nothing on the board changes.
    ///
    /// raises KeyError: the running gateware has no such register
    #[effect(read)]
    pub fn read_fields(&mut self, cx: &Context<'_>, device_name: &str) -> Result<Dict, FpgaError> {
        let limit = self.limit(cx, 0);
        let fields = self.running_design(&limit)?.fields(device_name);
        let word = self.read_word(&limit, device_name, 0)?;
        let mut values = Dict::default();
        for field in fields {
            values.add(field.name.clone(), field.value(word));
        }
        Ok(values)
    }

    /// Writes some of a register's named bit-fields, and leaves the others as they are.
    ///
    /// device_name: a register that the design describes, see get_system_information()
    /// values: a dictionary of fields and their values
    ///
    /// The register is read, changed, written and read back.
    ///
    /// raises KeyError: the running gateware has no such register, or the register no such field
    /// raises ValueError: a value has no room in its field
    pub fn write_fields(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        values: Map<'_>,
    ) -> Result<(), FpgaError> {
        let limit = self.limit(cx, 0);
        let fields = self.running_design(&limit)?.fields(device_name);
        let mut word = self.read_word(&limit, device_name, 0)?;
        for (name, value) in values.iter() {
            let name = name.as_text().unwrap_or_default();
            let field = fields.iter().find(|field| field.name == name).ok_or_else(|| {
                FpgaError::NoField {
                    register: device_name.to_owned(),
                    field: name.to_owned(),
                    fields: fields
                        .iter()
                        .map(|field| field.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                }
            })?;
            word = field.set(word, value)?;
        }
        self.write_verified(&limit, device_name, 0, &word.to_be_bytes())
    }

    /// Lists the board's sensors.
    ///
    /// returns: a list of dictionaries: name, description, units, type, params
    ///
    /// Nothing on the board changes.
    #[effect(read)]
    pub fn sensor_list(&mut self, cx: &Context<'_>) -> Result<Vec<Dict>, FpgaError> {
        let limit = self.limit(cx, 0);
        let mut sensors = Vec::new();
        self.client.ask(&limit, "sensor-list", &[], |mut inform| {
            let mut sensor = Dict::default();
            for key in ["name", "description", "units", "type"] {
                sensor.add(key, inform.next_arg().map(|word| lossy(word)).unwrap_or_default());
            }
            let words = std::iter::from_fn(|| inform.next_arg().map(|word| lossy(word).into()));
            sensor.add("params", words.collect::<Vec<Plain>>());
            sensors.push(sensor);
        })?;
        Ok(sensors)
    }

    /// Tells what a sensor measures.
    ///
    /// sensor: its name, see sensor_list()
    /// returns: a dictionary: name, timestamp (seconds since 1970), status, value as text
    ///
    /// Nothing on the board changes.
    ///
    /// raises RuntimeError: the board has no such sensor
    #[effect(read)]
    pub fn sensor_value(&mut self, cx: &Context<'_>, sensor: &str) -> Result<Dict, FpgaError> {
        let limit = self.limit(cx, 0);
        let mut value = None;
        // Servers of KATCP version 4 tell milliseconds, later ones seconds.
        let unit = if self.client.is_version_4() { 1e-3 } else { 1.0 };
        self.client.ask(&limit, "sensor-value", &[sensor.into()], |mut inform| {
            let mut word = || inform.next_arg().map(|word| lossy(word)).unwrap_or_default();
            let (time, _count) = (word(), word());
            let mut told = Dict::default();
            told.add("name", word());
            told.add("timestamp", time.parse::<f64>().ok().map(|time| time * unit));
            told.add("status", word());
            told.add("value", word());
            value.get_or_insert(told);
        })?;
        Ok(value.unwrap_or_default())
    }
}

impl Fpga {
    /// The running design, as its file told or as the board does.
    fn running_design(&mut self, limit: &Limit<'_>) -> Result<&Design, FpgaError> {
        self.client.connect(limit)?;
        let at = self.client.changes();
        if self.design.as_ref().is_none_or(|(known, _)| *known != at) {
            let design = self.ask_design(limit)?;
            self.design = Some((at, design));
        }
        // It was put there just now, if it was not there before.
        Ok(&self.design.get_or_insert_default().1)
    }

    fn ask_design(&mut self, limit: &Limit<'_>) -> Result<Design, FpgaError> {
        let mut design = Design::default();
        self.list_devices(limit, Some("size"), |name, size| {
            design.registers.insert(name, (None, size.map(Bits::bytes)));
        })?;
        let addresses = self.list_devices(limit, Some("detail"), |name, address| {
            if let Some(register) = design.registers.get_mut(&name) {
                register.0 = address.map(|Bits(bits)| bits / 8);
            }
        });
        addresses.or_else(FpgaError::unless_refused_by_board)?;
        let mut count = 0;
        let asked = self.client.ask(limit, "meta", &[], |mut inform| {
            count += 1;
            let mut word = || inform.next_arg().map(|word| lossy(word));
            let head = [word(), word(), word()];
            let values: Vec<String> = std::iter::from_fn(word).collect();
            if let ([Some(device), Some(tag), Some(key)], true) = (head, count <= MOST) {
                design.add(device, &tag, key, &values.join(" "));
            }
        });
        // Old servers know no metadata.
        asked.map(|_| ()).or_else(FpgaError::unless_refused)?;
        Ok(design)
    }
}

impl Design {
    /// The design in a gateware file.
    pub(super) fn of_file(gateware: &Gateware<'_>) -> Self {
        let mut design = Self::default();
        for register in &gateware.registers {
            let place = (Some(register.address.into()), Some(register.size.into()));
            design.registers.insert(register.name.clone(), place);
        }
        for line in &gateware.metadata {
            let (device, key) = (line.device.clone(), line.key.clone());
            design.add(device, &line.tag, key, &line.values.join(" "));
        }
        design
    }

    fn add(&mut self, device: String, tag: &str, key: String, value: &str) {
        let device = self.devices.entry(device).or_default();
        tag.clone_into(&mut device.tag);
        device.parameters.push((key, value.to_owned()));
    }

    /// What is told of a register; devices have `/` in their names where registers have `_`.
    fn device(&self, register: &str) -> Option<&Device> {
        let known = self.devices.get(register);
        known.or_else(|| {
            let same = |name: &&String| name.replace('/', "_") == register;
            self.devices.keys().find(same).and_then(|name| self.devices.get(name))
        })
    }

    /// The bit-fields of a register, the most significant first.
    fn fields(&self, register: &str) -> Vec<Field> {
        let device = self.device(register);
        let told = |key: &str| device.and_then(|device| device.get(key)).unwrap_or_default();
        Field::of_register(told("names"), told("bitwidths"), told("arith_types"), told("bin_pts"))
    }

    fn to_dict(&self) -> Dict {
        let mut registers = Dict::default();
        for (name, (address, size)) in &self.registers {
            let mut register = Dict::default();
            let number = |number: &Option<u64>| number.and_then(|n| i64::try_from(n).ok());
            register.add("address", number(address));
            register.add("size", number(size));
            if let Some(device) = self.device(name).filter(|device| device.tag == "xps:sw_reg") {
                register.add("io_dir", device.get("io_dir").map(str::to_owned));
                let fields = self.fields(name);
                let fields = fields.iter().map(|field| field.to_dict().into());
                register.add("fields", fields.collect::<Vec<Plain>>());
            }
            registers.add(name.as_str(), register);
        }
        let parameters = |device: &Device| {
            let mut dict = Dict::default();
            for (key, value) in &device.parameters {
                dict.add(key.as_str(), value.as_str());
            }
            dict
        };
        let of_kind = |kinds: &[&str]| {
            let chosen = self.devices.iter().filter(|(_, d)| kinds.contains(&d.tag.as_str()));
            chosen.map(|(name, _)| Plain::Text(name.replace('/', "_"))).collect::<Vec<_>>()
        };
        let mut devices = Dict::default();
        for (name, device) in &self.devices {
            if name != SYSTEM && name != SYSTEM_RCS {
                let mut told = parameters(device);
                told.0.insert(0, ("tag".into(), device.tag.as_str().into()));
                devices.add(name.as_str(), told);
            }
        }
        let mut all = Dict::default();
        all.add("system_info", self.devices.get(SYSTEM).map(parameters).unwrap_or_default());
        all.add("rcs", self.devices.get(SYSTEM_RCS).map(parameters).unwrap_or_default());
        all.add("registers", registers);
        all.add("snapshots", of_kind(&["casper:snapshot"]));
        all.add("sbrams", of_kind(&["xps:bram"]));
        all.add("gbes", of_kind(&["xps:ten_gbe", "xps:tengbe_v2", "xps:onegbe", "xps:forty_gbe"]));
        all.add("qdrs", of_kind(&["xps:qdr"]));
        all.add("devices", devices);
        all
    }
}

impl Device {
    fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}
