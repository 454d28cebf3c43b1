use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Shines.
    pub fn shine(&self, level: u8, cx: &proximity_proto::Context<'_>) {
        let _ = (level, cx.now());
    }
}

fn main() {}
