use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Waits.
    pub fn wait(&self, time: std::time::Instant) {
        let _ = time;
    }
}

fn main() {}
