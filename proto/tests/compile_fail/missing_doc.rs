use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    pub fn shine(&self) {}
}

fn main() {}
