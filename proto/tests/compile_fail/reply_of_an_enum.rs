use proximity_proto::ToReply;

#[derive(ToReply)]
enum Level {
    Low,
}

#[derive(ToReply)]
struct Pair(u8, u8);

#[derive(ToReply)]
struct Times {
    start: std::time::Instant,
}

fn main() {}
