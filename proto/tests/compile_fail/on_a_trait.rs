use proximity_proto::expose;

struct Lamp;

#[expose]
impl Default for Lamp {
    fn default() -> Self {
        Lamp
    }
}

fn main() {}
