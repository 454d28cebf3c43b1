//! Which ports there are, and which of them a USB device has.
//!
//! Read from sysfs, as libudev reads it: no library, and no panic where there is no sysfs.

use proximity_proto::ToReply;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the kernel tells of its terminals.
pub(crate) const SYSFS: &str = "/sys/class/tty";
/// Where udev keeps names that stay the same.
const BY_ID: &str = "/dev/serial/by-id";
/// How many folders above a port its USB device may stand: port, interface, device.
const DEPTH: usize = 4;

/// A serial port, with pyserial's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToReply)]
pub struct PortInfo {
    /// The device file.
    pub device: String,
    /// Its name in `/dev/serial/by-id`, which stays the same.
    pub by_id: Option<String>,
    /// USB vendor number.
    pub vid: Option<u16>,
    /// USB product number.
    pub pid: Option<u16>,
    /// The USB device's own number.
    pub serial_number: Option<String>,
    /// Which of the USB device's interfaces it is.
    pub interface: Option<u8>,
    /// Who made it, as it says itself.
    pub manufacturer: Option<String>,
    /// What it is, as it says itself.
    pub product: Option<String>,
}

/// What a USB device must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UsbId {
    /// Its vendor.
    pub(crate) vendor: Option<u16>,
    /// Its product.
    pub(crate) product: Option<u16>,
    /// Its own number.
    pub(crate) serial: Option<String>,
    /// Which of its interfaces.
    pub(crate) interface: Option<u8>,
}

impl UsbId {
    fn fits(&self, port: &PortInfo) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        same(self.vendor.as_ref(), port.vid.as_ref())
            && same(self.product.as_ref(), port.pid.as_ref())
            && same(self.serial.as_ref(), port.serial_number.as_ref())
            && same(self.interface.as_ref(), port.interface.as_ref())
    }

    /// The device file of the one port that fits.
    ///
    /// # Errors
    ///
    /// None fits, or more than one, or there is no sysfs.
    pub(crate) fn find(&self, sysfs: &Path) -> io::Result<PathBuf> {
        let mut ports = list_ports(sysfs)?;
        ports.retain(|port| self.fits(port));
        match ports.as_slice() {
            [port] => Ok(PathBuf::from(&port.device)),
            [] => Err(io::Error::new(io::ErrorKind::NotFound, "no such USB device has a port")),
            several => {
                let names: Vec<&str> = several.iter().map(|port| port.device.as_str()).collect();
                let names = names.join(", ");
                let said = format!("it fits {names}; usb_serial or usb_interface tells them apart");
                Err(io::Error::new(io::ErrorKind::InvalidInput, said))
            }
        }
    }
}

impl std::fmt::Display for UsbId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("usb ")?;
        match self.vendor {
            Some(vendor) => write!(f, "{vendor:04x}")?,
            None => f.write_str("*")?,
        }
        match self.product {
            Some(product) => write!(f, ":{product:04x}")?,
            None => f.write_str(":*")?,
        }
        if let Some(serial) = &self.serial {
            write!(f, " {serial}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, " interface {interface}")?;
        }
        Ok(())
    }
}

/// All ports with a device behind them, by name.
///
/// # Errors
///
/// There is no sysfs to be read.
pub(crate) fn list_ports(sysfs: &Path) -> io::Result<Vec<PortInfo>> {
    let links = links(Path::new(BY_ID));
    let mut ports = Vec::new();
    for entry in fs::read_dir(sysfs)? {
        let Ok(entry) = entry else { continue };
        // Virtual consoles have no device, and UARTs that are not populated are of type 0.
        let Ok(device) = entry.path().join("device").canonicalize() else { continue };
        if text(&entry.path().join("type")).as_deref() == Some("0") {
            continue;
        }
        let node = Path::new("/dev").join(entry.file_name());
        let mut port = PortInfo { device: node.display().to_string(), ..PortInfo::default() };
        port.by_id =
            links.iter().find(|(_, to)| *to == node).map(|(link, _)| link.display().to_string());
        usb(&device, &mut port);
        ports.push(port);
    }
    ports.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(ports)
}

/// Fills in what the USB device above `device` tells, where there is one.
fn usb(device: &Path, port: &mut PortInfo) {
    for folder in device.ancestors().take(DEPTH) {
        let number = |name: &str| u16::from_str_radix(&text(&folder.join(name))?, 16).ok();
        if let Some(interface) = number("bInterfaceNumber") {
            port.interface = u8::try_from(interface).ok();
        }
        if let Some(vid) = number("idVendor") {
            (port.vid, port.pid) = (Some(vid), number("idProduct"));
            port.serial_number = text(&folder.join("serial"));
            port.manufacturer = text(&folder.join("manufacturer"));
            port.product = text(&folder.join("product"));
            return;
        }
    }
}

/// What a small file of sysfs says.
fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The links in a folder, and what they stand for. There is no folder where there is no USB port.
fn links(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter_map(|path| Some((path.clone(), path.canonicalize().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, os::unix::fs::symlink, process};

    /// A sysfs with a plain UART, one that is not there, a console, and a USB device of two ports.
    struct Sysfs(PathBuf);

    impl Sysfs {
        fn new(name: &str) -> Self {
            let root = env::temp_dir().join(format!("proximity-sysfs-{name}-{}", process::id()));
            let _ = fs::remove_dir_all(&root);
            let file = |path: &str, text: &str| {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            file("class/tty/ttyS0/type", "4\n");
            file("class/tty/ttyS1/type", "0\n");
            file("class/tty/tty1/dev", "4:1\n");
            file("devices/uart/uevent", "");
            for (name, value) in [
                ("idVendor", "0403\n"),
                ("idProduct", "6010\n"),
                ("serial", "A5VPHY1E\n"),
                ("manufacturer", "Valon Technology\n"),
                ("product", "Valon USB UART\n"),
            ] {
                file(&format!("devices/usb1/1-2/{name}"), value);
            }
            for (port, interface) in [("ttyUSB0", "00\n"), ("ttyUSB1", "01\n")] {
                let folder = format!("devices/usb1/1-2/1-2:1.{}", interface.trim());
                file(&format!("{folder}/bInterfaceNumber"), interface);
                file(&format!("{folder}/{port}/uevent"), "");
                file(&format!("class/tty/{port}/dev"), "188:0\n");
                let to = root.join(format!("{folder}/{port}"));
                symlink(to, root.join(format!("class/tty/{port}/device"))).unwrap();
            }
            for port in ["ttyS0", "ttyS1"] {
                let to = root.join("devices/uart");
                symlink(to, root.join(format!("class/tty/{port}/device"))).unwrap();
            }
            Self(root)
        }

        fn class(&self) -> PathBuf {
            self.0.join("class/tty")
        }
    }

    impl Drop for Sysfs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn ports_are_listed_with_what_usb_tells() {
        let sysfs = Sysfs::new("list");
        let ports = list_ports(&sysfs.class()).unwrap();
        let names: Vec<&str> = ports.iter().map(|port| port.device.as_str()).collect();
        assert_eq!(names, ["/dev/ttyS0", "/dev/ttyUSB0", "/dev/ttyUSB1"]);
        assert_eq!(ports[0].vid, None);
        assert_eq!(
            ports[2],
            PortInfo {
                device: "/dev/ttyUSB1".to_owned(),
                by_id: None,
                vid: Some(0x0403),
                pid: Some(0x6010),
                serial_number: Some("A5VPHY1E".to_owned()),
                interface: Some(1),
                manufacturer: Some("Valon Technology".to_owned()),
                product: Some("Valon USB UART".to_owned()),
            }
        );
    }

    #[test]
    fn a_usb_device_is_found_wherever_it_was_plugged_in() {
        let sysfs = Sysfs::new("find");
        let mut id = UsbId { vendor: Some(0x0403), product: Some(0x6010), ..UsbId::default() };
        let error = id.find(&sysfs.class()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it fits /dev/ttyUSB0, /dev/ttyUSB1; usb_serial or usb_interface tells them apart"
        );
        id.interface = Some(1);
        assert_eq!(id.find(&sysfs.class()).unwrap(), Path::new("/dev/ttyUSB1"));
        id.serial = Some("another".to_owned());
        let error = id.find(&sysfs.class()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(id.to_string(), "usb 0403:6010 another interface 1");
    }

    #[test]
    fn where_there_is_no_sysfs_that_is_an_error() {
        let error = list_ports(Path::new("/nowhere/class/tty")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
