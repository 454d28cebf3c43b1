use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Shines.
    #[effect(often)]
    pub fn shine(&self) {}
}

fn main() {}
