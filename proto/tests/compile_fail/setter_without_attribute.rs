use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Sets the level.
    #[attribute]
    pub fn set_level(&mut self, level: u8) {
        let _ = level;
    }
}

fn main() {}
