-- Settings of plugins in a database. 'hotload database init' makes this table at the address in [database].
-- Each statement works on SQLite, PostgreSQL and MySQL. A running host applies a change at once, and reloads only the
-- plugins whose rows changed. NULL leaves a value to hotload.toml, or to its default.

-- The table as 'hotload database init' makes it.
CREATE TABLE hotload_plugins (
    content    VARCHAR(200) NOT NULL PRIMARY KEY,  -- the plugin: the name of its directory
    hook_point VARCHAR(200),                       -- for ctx.hook(handler) without a hook point
    priority   INTEGER,                            -- for hooks without a priority; lower runs first, 100 if NULL
    enabled    BOOLEAN DEFAULT TRUE,
    settings   JSON,                               -- an object; the plugin reads it as ctx.settings
    reload     VARCHAR(10)                         -- swap or replace
);

-- Register a plugin at a hook point.
INSERT INTO hotload_plugins (content, hook_point, priority, enabled)
VALUES ('todo_scanner', 'scan', 20, TRUE);

-- Give a plugin settings of its own.
INSERT INTO hotload_plugins (content, settings)
VALUES ('text_stats', '{"words_per_minute": 238}');
UPDATE hotload_plugins SET settings = '{"words_per_minute": 180}' WHERE content = 'text_stats';

-- Disable a plugin: it is unloaded. Enable it again: it is loaded.
UPDATE hotload_plugins SET enabled = FALSE WHERE content = 'todo_scanner';
UPDATE hotload_plugins SET enabled = TRUE WHERE content = 'todo_scanner';

-- Reorder the handlers of a hook point: the lowest priority runs first.
UPDATE hotload_plugins SET priority = 10 WHERE content = 'text_stats';
UPDATE hotload_plugins SET priority = priority + 100 WHERE hook_point = 'scan';

-- A plugin that cannot share a resource with its next version: the running version leaves first.
UPDATE hotload_plugins SET reload = 'replace' WHERE content = 'todo_scanner';

-- Audit: what differs from the defaults, in the order in which handlers run.
SELECT content, hook_point, COALESCE(priority, 100) AS priority, enabled, reload
FROM hotload_plugins
ORDER BY hook_point, COALESCE(priority, 100), content;

-- Audit: which plugins are disabled.
SELECT content FROM hotload_plugins WHERE enabled = FALSE ORDER BY content;

-- Leave a plugin to hotload.toml again.
DELETE FROM hotload_plugins WHERE content = 'text_stats';
