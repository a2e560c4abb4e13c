"""Commands by topic. Each `attach(app)` adds its commands; imports of the engine wait until a command runs."""
