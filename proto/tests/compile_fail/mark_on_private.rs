use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    #[effect(read)]
    fn shine(&self) {}
}

fn main() {}
