//! Many registers in one call, words, and memories larger than a register: DRAM and QDR.

use super::{
    ByteOrder, Fpga, FpgaError, Word, lossy,
    memory::{WORD, swap_words},
};
use crate::katcp_client::{Arg, KatcpError, Limit};
use proximity_proto::{
    Context, FromArg, ToReply, Value,
    arg::{Mismatch, Type},
    expose,
};

/// How many requests for single words are under way at a time: some 2 KiB of them, half a block of the server's.
const MANY: usize = 64;
/// The DRAM is seen through a window of this many bytes; `dram_controller` tells which part of it.
const PAGE: u64 = 64 << 20;
/// The word that the QDR's controller takes for a reset.
const QDR_RESET: [u8; 4] = [0xff; 4];

/// A word of a register: its name, or a list of its name and an offset in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    name: &'a str,
    offset: u32,
}

impl<'a> FromArg<'a> for Place<'a> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        let wrong = || Mismatch::wrong("a register's name, or [name, word offset]", &value);
        match value {
            Value::Array(list) if list.len() == 2 => Ok(Self {
                name: list.get(0).and_then(|name| name.as_text()).ok_or_else(wrong)?,
                offset: u32::from_arg(list.get(1).ok_or_else(wrong)?)?,
            }),
            other => Ok(Self { name: other.as_text().ok_or_else(wrong)?, offset: 0 }),
        }
    }

    fn ty() -> Type {
        Type::named("str|list")
    }
}

/// Numbers for registers: a dictionary, or a list of [name, number] and [name, number, word offset].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignments<'a>(Vec<(Place<'a>, Word)>);

impl<'a> FromArg<'a> for Assignments<'a> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        let wrong = || Mismatch::wrong("a dict, or a list of [name, number]", &value);
        let entry = |item: Value<'a>| {
            let Value::Array(list) = item else { return Err(wrong()) };
            let [Some(name), Some(number)] = [list.get(0), list.get(1)] else {
                return Err(wrong());
            };
            let offset = list.get(2).map_or(Ok(0), u32::from_arg)?;
            let name = name.as_text().ok_or_else(wrong)?;
            Ok((Place { name, offset }, Word::from_arg(number)?))
        };
        match value {
            Value::Map(map) => map.iter().map(|(name, number)| named(name, number)).collect(),
            Value::Array(list) => list.iter().map(entry).collect(),
            _ => Err(wrong()),
        }
        .map(Self)
    }

    fn ty() -> Type {
        Type::named("dict|list")
    }
}

fn named<'a>(name: Value<'a>, number: Value<'a>) -> Result<(Place<'a>, Word), Mismatch> {
    let name = name.as_text().ok_or_else(|| Mismatch::wrong("a register's name", &name))?;
    Ok((Place { name, offset: 0 }, Word::from_arg(number)?))
}

#[expose(part = Bulk)]
impl Fpga {
    /// Reads `size` bytes of `device_name` by the board's bulk transfer, or as read() does if it has none.
    ///
    /// device_name: register or memory as named by listdev()
    /// size: bytes, at least 1
    /// offset: bytes from the start of the device
    /// returns: bytes, most significant byte of each 32-bit word first
    ///
    /// Nothing on the board changes.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that
    /// raises TimeoutError: the board did not answer in time
    #[effect(read)]
    pub fn bulkread(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        size: u32,
        #[default(0)] offset: u32,
    ) -> Result<&[u8], FpgaError> {
        let limit = self.limit(cx, size.into());
        self.data.clear();
        let range = self.bulk_onto(&limit, device_name, offset.into(), size.into())?;
        Ok(self.data.get(range).unwrap_or_default())
    }

    /// Reads a word of each of many registers, all in one go.
    ///
    /// device_names: a list; each a name, or [name, offset in 32-bit words]
    /// returns: a list of numbers, 0 to 4294967295, in the same order
    ///
    /// Many times faster than as many calls of read_uint(). Nothing on the board changes.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: a device ends before that
    #[effect(read)]
    pub fn read_many(
        &mut self,
        cx: &Context<'_>,
        device_names: Vec<Place<'_>>,
    ) -> Result<Vec<u32>, FpgaError> {
        let limit = self.limit(cx, 0);
        self.read_places(&limit, &device_names)
    }

    /// Writes a number into each of many registers, all in one go, and reads them back unless told otherwise.
    ///
    /// integers: a dictionary of names and numbers, or a list of [name, number] or [name, number, word offset];
    ///   each number -2147483648 to 4294967295
    /// blindwrite: do not read back
    ///
    /// They are written in order. A name or number that will not do is found before anything is written.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: a device ends before that, or a number has no room in 32 bits
    /// raises RuntimeError: the board refused one, or one does not hold what was written
    pub fn write_many(
        &mut self,
        cx: &Context<'_>,
        integers: Assignments<'_>,
        #[default(false)] blindwrite: bool,
    ) -> Result<(), FpgaError> {
        let limit = self.limit(cx, 0);
        let Assignments(list) = integers;
        for (place, _) in &list {
            self.check_range(&limit, place.name, place.bytes(), WORD)?;
        }
        let word = |number: Word| match self.byte_order {
            ByteOrder::Big => number.0.to_be_bytes(),
            ByteOrder::Little => number.0.to_le_bytes(),
        };
        let words: Vec<[u8; 4]> = list.iter().map(|(_, number)| word(*number)).collect();
        let written = self.client.ask_many(
            &limit,
            "write",
            (list.len(), MANY),
            |index, writer| match (list.get(index), words.get(index)) {
                (Some((place, _)), Some(word)) => {
                    writer.arg(place.name.as_bytes()).uint(place.bytes()).arg(word)
                }
                _ => writer,
            },
            |_, _| Ok(()),
        );
        written.map_err(|(index, error)| self.explain_place(&limit, list.get(index), error))?;
        if blindwrite {
            return Ok(());
        }
        let places: Vec<Place<'_>> = list.iter().map(|(place, _)| *place).collect();
        let read = self.read_places(&limit, &places)?;
        // Only the last number written to a place is still there.
        let wrote_last = |place: &Place<'_>| list.iter().rev().find(|(other, _)| other == place);
        let differs = |(place, read): &(&Place<'_>, &u32)| {
            wrote_last(place).is_some_and(|(_, wrote)| wrote.0 != **read)
        };
        match places.iter().zip(&read).find(differs) {
            None => Ok(()),
            Some((place, read)) => Err(FpgaError::Verify {
                register: place.name.to_owned(),
                offset: place.bytes(),
                wrote: format!("{:08x}", wrote_last(place).map_or(0, |(_, wrote)| wrote.0)),
                read: format!("{read:08x}"),
            }),
        }
    }

    /// Reads words of a device, each by the board's own idea of a number.
    ///
    /// device_name: register or memory as named by listdev()
    /// size: words
    /// word_offset: 32-bit words from the start of the device
    /// returns: a list of numbers, 0 to 4294967295
    ///
    /// Nothing on the board changes. For more than some hundred words read() is faster.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that
    #[effect(read)]
    pub fn wordread(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        #[default(1)] size: u32,
        #[default(0)] word_offset: u32,
    ) -> Result<Vec<u32>, FpgaError> {
        let (offset, count) = (u64::from(word_offset) * WORD, u64::from(size) * WORD);
        let limit = self.limit(cx, count);
        self.check_read(&limit, device_name, offset, count)?;
        let args = [device_name.into(), word_offset.into(), size.into()];
        let mut words = Vec::new();
        let result = self.client.ask(&limit, "wordread", &args, |_| {}).map(|mut reply| {
            let next = || reply.next_arg().and_then(|word| parse_word(word));
            words.extend(std::iter::from_fn(next));
        });
        result.map_err(|error| self.explain(&limit, error, (device_name, offset, count)))?;
        if words.len() as u64 != u64::from(size) {
            let found = format!("{} words instead of {size}", words.len());
            return Err(self.client.out_of_step(found, "wordread").into());
        }
        Ok(words)
    }

    /// Writes words into a device, and does not read them back.
    ///
    /// device_name: register or memory as named by listdev()
    /// integers: a number or a list of them, -2147483648 to 4294967295
    /// word_offset: 32-bit words from the start of the device
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that, or a number has no room in 32 bits
    /// raises RuntimeError: the board refused
    pub fn wordwrite(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        integers: Words,
        #[default(0)] word_offset: u32,
    ) -> Result<(), FpgaError> {
        let (offset, count) = (u64::from(word_offset) * WORD, integers.0.len() as u64 * WORD);
        let limit = self.limit(cx, count);
        self.check_range(&limit, device_name, offset, count)?;
        let mut args: Vec<Arg<'_>> = vec![device_name.into(), word_offset.into()];
        args.extend(integers.0.iter().map(|word| Arg::from(word.0)));
        let result = self.client.ask(&limit, "wordwrite", &args, |_| {}).map(|_| ());
        result.map_err(|error| self.explain(&limit, error, (device_name, offset, count)))
    }

    /// Reads the DRAM, page by page.
    ///
    /// size: bytes, at least 1
    /// offset: bytes from the start of the DRAM
    /// verbose: tell how far it is, to a caller who asks for progress
    /// returns: bytes
    ///
    /// The register dram_controller, which selects the page, is left at the last one read.
    ///
    /// raises KeyError: the running gateware has no DRAM
    #[effect(write)]
    pub fn read_dram(
        &mut self,
        cx: &Context<'_>,
        size: u32,
        #[default(0)] offset: u64,
        #[default(false)] verbose: bool,
    ) -> Result<&[u8], FpgaError> {
        let total = u64::from(size);
        let limit = self.limit(cx, total);
        if size == 0 {
            let register = "dram_memory".to_owned();
            return Err(FpgaError::Nothing { register, size: PAGE });
        }
        self.data.clear();
        let mut range = 0..0;
        while (range.len() as u64) < total {
            let at = offset + range.len() as u64;
            let count = (PAGE - at % PAGE).min(total - range.len() as u64);
            self.select_page(&limit, at / PAGE)?;
            let part = self.bulk_onto(&limit, "dram_memory", at % PAGE, count)?;
            // Pages behind the first begin at a word, so the parts adjoin.
            range = if range.is_empty() { part } else { range.start..part.end };
            if verbose {
                cx.progress(range.len() as u64, total, "reading DRAM");
            }
        }
        Ok(self.data.get(range).unwrap_or_default())
    }

    /// Writes into the DRAM, page by page, and does not read it back.
    ///
    /// data: bytes, a multiple of 4
    /// offset: bytes from the start of the DRAM; a multiple of 4
    /// verbose: tell how far it is, to a caller who asks for progress
    ///
    /// The register dram_controller, which selects the page, is left at the last one written.
    ///
    /// raises KeyError: the running gateware has no DRAM
    /// raises ValueError: length or offset is no multiple of 4
    pub fn write_dram(
        &mut self,
        cx: &Context<'_>,
        data: &[u8],
        #[default(0)] offset: u64,
        #[default(false)] verbose: bool,
    ) -> Result<(), FpgaError> {
        let total = data.len() as u64;
        let limit = self.limit(cx, total);
        FpgaError::check_aligned("dram_memory", offset, total)?;
        let mut rest = data;
        while !rest.is_empty() {
            let at = offset + (total - rest.len() as u64);
            let count = usize::try_from(PAGE - at % PAGE).unwrap_or(usize::MAX);
            let (part, behind) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            self.select_page(&limit, at / PAGE)?;
            self.write_range(&limit, "dram_memory", at % PAGE, part)?;
            rest = behind;
            if verbose {
                cx.progress(total - rest.len() as u64, total, "writing DRAM");
            }
        }
        Ok(())
    }

    /// Tells whether a QDR memory is calibrated.
    ///
    /// qdr: its number
    /// returns: a dictionary: phyrdy (the controller is ready) and calfail (calibration failed)
    ///
    /// Nothing on the board changes.
    ///
    /// raises KeyError: the running gateware has no such QDR
    #[effect(read)]
    pub fn qdr_status(&mut self, cx: &Context<'_>, qdr: u32) -> Result<QdrStatus, FpgaError> {
        let word = self.read_word(&self.limit(cx, 0), &format!("qdr{qdr}_ctrl"), 1)?;
        Ok(QdrStatus { phyrdy: word & 1 != 0, calfail: word >> 8 & 1 != 0 })
    }

    /// Resets a QDR memory, which makes it calibrate again.
    ///
    /// qdr: its number
    ///
    /// What it holds is lost.
    ///
    /// raises KeyError: the running gateware has no such QDR
    pub fn qdr_rst(&mut self, cx: &Context<'_>, qdr: u32) -> Result<(), FpgaError> {
        self.write_range(&self.limit(cx, 0), &format!("qdr{qdr}_ctrl"), 0, &QDR_RESET)
    }
}

/// The state of a QDR memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToReply)]
pub struct QdrStatus {
    /// The controller is ready.
    pub phyrdy: bool,
    /// Calibration failed.
    pub calfail: bool,
}

/// A number or a list of numbers, each for a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<Word>);

impl FromArg<'_> for Words {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Array(list) => list.iter().map(Word::from_arg).collect::<Result<_, _>>(),
            single => Word::from_arg(single).map(|word| vec![word]),
        }
        .map(Self)
    }

    fn ty() -> Type {
        Type::named("int|list[int]")
    }
}

impl Place<'_> {
    /// Bytes from the start of the register.
    fn bytes(&self) -> u64 {
        u64::from(self.offset) * WORD
    }
}

impl Fpga {
    fn select_page(&mut self, limit: &Limit<'_>, page: u64) -> Result<(), FpgaError> {
        let page = u32::try_from(page).map_err(|_| FpgaError::BadValue {
            what: "the DRAM page",
            value: page.to_string(),
            must_be: "at most 4294967295",
        })?;
        self.write_checked(limit, "dram_controller", 0, &page.to_be_bytes())
    }

    /// [`read_onto`](Self::read_onto) by `?bulkread`, where the server has it.
    fn bulk_onto(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u64,
        count: u64,
    ) -> Result<std::ops::Range<usize>, FpgaError> {
        let words = self.check_read(limit, register, offset, count)?;
        if self.no_bulkread == Some(self.client.connections()) {
            return self.read_onto(limit, register, offset, count);
        }
        let (base, len) = (self.data.len(), words.end - words.start);
        let (data, mut too_much) = (&mut self.data, false);
        let args = [register.into(), Arg::Uint(words.start), Arg::Uint(len)];
        let result = self.client.ask(limit, "bulkread", &args, |mut inform| {
            let bytes = inform.next_arg().unwrap_or_default();
            too_much |= (data.len() - base + bytes.len()) as u64 > len;
            if !too_much {
                data.extend_from_slice(bytes);
            }
        });
        match result.map(|_| ()) {
            Err(KatcpError::Refused { reply, .. }) if reply.starts_with("invalid unknown") => {
                self.no_bulkread = Some(self.client.connections());
                return self.read_onto(limit, register, offset, count);
            }
            Err(error) => return Err(self.explain(limit, error, (register, offset, count))),
            Ok(()) if too_much || (self.data.len() - base) as u64 != len => {
                let found = format!("other than {len} bytes");
                return Err(self.client.out_of_step(found, "bulkread").into());
            }
            Ok(()) => {}
        }
        Ok(self.taken(base, offset - words.start, count))
    }

    fn read_places(
        &mut self,
        limit: &Limit<'_>,
        places: &[Place<'_>],
    ) -> Result<Vec<u32>, FpgaError> {
        for place in places {
            self.check_range(limit, place.name, place.bytes(), WORD)?;
        }
        let data = &mut self.data;
        data.clear();
        data.resize(4 * places.len(), 0);
        let read = self.client.ask_many(
            limit,
            "read",
            (places.len(), MANY),
            |index, writer| match places.get(index) {
                Some(place) => writer.arg(place.name.as_bytes()).uint(place.bytes()).uint(WORD),
                None => writer,
            },
            |index, mut reply| {
                let bytes = reply.next_arg().unwrap_or_default();
                match data.get_mut(4 * index..4 * index + 4) {
                    Some(place) if bytes.len() == 4 => place.copy_from_slice(bytes),
                    _ => return Err(format!("{} bytes instead of 4", bytes.len())),
                }
                Ok(())
            },
        );
        read.map_err(|(index, error)| {
            let place = places.get(index).map(|place| (*place, Word(0)));
            self.explain_place(limit, place.as_ref(), error)
        })?;
        if self.byte_order == ByteOrder::Little {
            swap_words(&mut self.data);
        }
        let (words, _) = self.data.as_chunks();
        Ok(words.iter().map(|word| u32::from_be_bytes(*word)).collect())
    }

    fn explain_place(
        &mut self,
        limit: &Limit<'_>,
        place: Option<&(Place<'_>, Word)>,
        error: KatcpError,
    ) -> FpgaError {
        match place {
            Some((place, _)) => self.explain(limit, error, (place.name, place.bytes(), WORD)),
            None => error.into(),
        }
    }
}

/// A word as the board's server writes it: `0xb00b`.
fn parse_word(text: &[u8]) -> Option<u32> {
    let text = lossy(text);
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
