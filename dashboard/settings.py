"""Every setting of the dashboard, its default and its limits. Each is an environment variable `LIGHTBOX_<NAME>`."""

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lightbox_client.variables import strip_values


class DashboardSettings(BaseSettings):
    """The dashboard's settings; values outside their limits are errors that name the setting."""

    model_config = SettingsConfigDict(env_prefix="LIGHTBOX_", frozen=True, extra="ignore")

    url: str = Field(default="http://127.0.0.1:3000", description="Where the dashboard finds the service.")
    public_url: str = Field(
        default="", description="Where people find the service, for the snippets to copy; `url` if unset."
    )
    dashboard_connect_timeout_s: float = Field(
        default=2.0, gt=0, le=60, description="Longest that the dashboard waits for a connection, in seconds."
    )
    dashboard_read_timeout_s: float = Field(
        default=20.0, gt=0, le=600, description="Longest that the dashboard waits for an answer, in seconds."
    )
    dashboard_max_files: int = Field(default=20, ge=1, le=200, description="Images classified at a time, at most.")
    dashboard_max_total_bytes: int = Field(
        default=64_000_000, ge=1, description="Bytes of images that one visitor may have open, at most."
    )

    @model_validator(mode="before")
    @classmethod
    def _strip_values(cls, given: dict[str, object]) -> dict[str, object]:
        return strip_values(given)

    @field_validator("url", "public_url")
    @classmethod
    def _strip_slash(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is no address; write it as http://host:port")
        return value

    @property
    def shown_url(self) -> str:
        """The address that snippets name."""
        return self.public_url or self.url
