use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Shines.
    pub fn shine(&self, #[default(1)] level: u8, seconds: u8) {
        let _ = (level, seconds);
    }
}

fn main() {}
