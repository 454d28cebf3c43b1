use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Shines.
    pub async fn shine(&self) {}
}

fn main() {}
