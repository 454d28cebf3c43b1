use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Shines.
    pub fn shine<T>(&self, level: T) {
        let _ = level;
    }

}

#[expose]
impl (Lamp, Lamp) {
    /// Shines.
    pub fn shine<const LEVEL: usize>(&self) {}
}

fn main() {}
