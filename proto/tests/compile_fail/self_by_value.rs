use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Ends it.
    pub fn burn(self) {}
}

fn main() {}
