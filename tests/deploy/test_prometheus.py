import re
import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry

from service.metrics import Metrics

SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed"
)


@pytest.fixture
def series():
    """The name of every series that the service can export."""
    registry = CollectorRegistry()
    Metrics(registry)
    families = list(registry.collect())
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


@pytest.fixture
def jobs(prometheus):
    """The one service discovery of each job."""
    return {
        config["job_name"]: config["dns_sd_configs"][0] for config in prometheus["scrape_configs"]
    }


@pytest.fixture
def promtool(root):
    """Callable: what promtool says about files, when it accepts them."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["promtool", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_every_metric_in_an_alert_exists(alerts, series):
    named = {name for rule in alerts for name in re.findall(r"\bdimr_\w+", rule["expr"])}
    assert "dimr_dead_letter_total" in named
    assert named - series == set()


def test_every_job_in_an_alert_is_scraped(alerts, jobs):
    named = {job for rule in alerts for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert named == set(jobs)


def test_every_alert_has_a_severity_and_says_what_is_wrong(alerts):
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize(
    ("job", "services"), [("dimr-api", ["api"]), ("dimr-worker", ["worker", "worker-gpu"])]
)
def test_processes_are_scraped_where_their_image_listens(jobs, compose, dockerfile, job, services):
    assert jobs[job]["names"] == services
    for service in services:
        stage = dockerfile[compose["services"][service]["build"]["target"]]
        assert ("EXPOSE", str(jobs[job]["port"])) in stage


def test_the_rules_lie_where_the_container_looks_for_them(root, prometheus, compose):
    mounted = compose["services"]["prometheus"]["volumes"][0].split(":")
    assert mounted == ["./deploy/prometheus", "/etc/prometheus", "ro"]
    config = "--config.file=/etc/prometheus/prometheus.yml"
    assert config in compose["services"]["prometheus"]["command"]
    for rules in prometheus["rule_files"]:
        assert (root / "deploy/prometheus" / rules).is_file()


def test_every_alert_is_made_to_fire_by_a_test(root, alerts):
    text = (root / "tests/deploy/alerts.test.yml").read_text()
    fired = re.findall(r"alertname: (\w+)\n\s+exp_alerts", text)
    assert set(fired) == {rule["alert"] for rule in alerts}


@needs_promtool
def test_promtool_accepts_the_configuration_and_its_rules(promtool, alerts):
    said = promtool("check", "config", "deploy/prometheus/prometheus.yml")
    assert f"{len(alerts)} rules found" in said


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then(promtool):
    assert "SUCCESS" in promtool("test", "rules", "tests/deploy/alerts.test.yml")
