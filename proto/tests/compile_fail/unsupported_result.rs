use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Tells the time.
    pub fn time(&self) -> std::time::Instant {
        std::time::Instant::now()
    }
}

fn main() {}
