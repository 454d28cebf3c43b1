use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Shines.
    pub fn shine(&self, #[default("bright")] level: u8) {
        let _ = level;
    }
}

fn main() {}
