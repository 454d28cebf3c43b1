use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Shines.
    pub fn shine(&self, #[args] levels: proximity_proto::Array<'_>, #[default(1)] seconds: u8) {
        let _ = (levels, seconds);
    }
}

fn main() {}
