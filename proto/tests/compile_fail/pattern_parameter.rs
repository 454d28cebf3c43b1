use proximity_proto::expose;

struct Lamp;

#[expose]
impl Lamp {
    /// Sums.
    pub fn sum(&self, (x, y): (i64, i64)) -> i64 {
        x + y
    }
}

fn main() {}
