pub struct Build;
