# elbow behind a Network Load Balancer: fleets of instances, each with its own target group, release
# and way of PROXY protocol; a listener that shares new connections between them by weights; and, if
# wanted, an ElastiCache that makes all instances one world. How to use it is said in README.md of
# the folder above.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

variable "name" {
  description = "What everything is called after."
  default     = "elbow"
}

variable "vpc" {
  description = "The VPC."
  type        = string
}

variable "subnets" {
  description = "Subnets of the balancer and of the instances, with a way out to fetch releases."
  type        = list(string)
}

variable "balancer_networks" {
  description = "Networks of these subnets. Only from there PROXY headers are believed."
  type        = list(string)
  default     = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
}

variable "client_network" {
  description = "Network of the clients."
  default     = "0.0.0.0/0"
}

variable "certificate" {
  description = "ARN of a certificate for TLS on port 443, from ACM. Without it TCP on port 80."
  default     = ""
}

variable "idle_timeout" {
  description = "Seconds after which a silent flow is forgotten. A TLS listener always has 350."
  default     = 350
}

variable "instance_type" {
  default = "t4g.nano"
}

variable "image" {
  description = "Debian 12 for Arm is /aws/service/debian/release/12/latest/arm64."
  default     = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

variable "instance_profile" {
  description = "Name of an instance profile, such as one with AmazonSSMManagedInstanceCore."
  default     = ""
}

variable "settings" {
  description = "More lines for /etc/default/elbow, such as ELBOW_HISTORY=1000."
  type        = list(string)
  default     = []
}

variable "redis_node_type" {
  description = "Node type of an ElastiCache for Valkey that joins all instances. Empty for none."
  default     = ""
}

variable "fleets" {
  description = "Fleets of instances by colour. Weights share new connections between them."
  type = map(object({
    release_url    = string
    release_sha256 = string
    instances      = optional(number, 1)
    weight         = optional(number, 100)
    proxy_protocol = optional(bool, true)
  }))
}

locals {
  has_tls   = var.certificate != ""
  has_redis = var.redis_node_type != ""
  port      = local.has_tls ? 443 : 80

  redis_host    = one(aws_elasticache_replication_group.redis[*].primary_endpoint_address)
  redis_url     = "rediss://${local.redis_host}:6379"
  redis_setting = local.has_redis ? "ELBOW_REDIS=${local.redis_url}" : "# ELBOW_REDIS is not set."
}

data "aws_ssm_parameter" "image" {
  name = var.image
}

resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "Balancer of elbow, from its clients"
  vpc_id      = var.vpc

  ingress {
    description = "Clients"
    protocol    = "tcp"
    from_port   = local.port
    to_port     = local.port
    cidr_blocks = [var.client_network]
  }

  egress {
    description = "Everything"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "instances" {
  name        = "${var.name}-instances"
  description = "Instances of elbow, from their balancer only"
  vpc_id      = var.vpc

  ingress {
    description     = "Clients and health checks, by the balancer"
    protocol        = "tcp"
    from_port       = 3000
    to_port         = 3001
    security_groups = [aws_security_group.balancer.id]
  }

  egress {
    description = "Everything"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_lb" "balancer" {
  name               = var.name
  load_balancer_type = "network"
  internal           = false
  subnets            = var.subnets
  security_groups    = [aws_security_group.balancer.id]

  enable_cross_zone_load_balancing = true
}

resource "aws_lb_target_group" "fleet" {
  for_each    = var.fleets
  name        = "${var.name}-${each.key}"
  vpc_id      = var.vpc
  target_type = "instance"
  protocol    = "TCP"
  port        = 3000

  proxy_protocol_v2      = each.value.proxy_protocol
  preserve_client_ip     = false
  deregistration_delay   = 60
  connection_termination = false

  target_health_state {
    enable_unhealthy_connection_termination = false
  }

  health_check {
    protocol            = "HTTP"
    port                = "3001"
    path                = "/healthz"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "listener" {
  load_balancer_arn = aws_lb.balancer.arn
  port              = local.port
  protocol          = local.has_tls ? "TLS" : "TCP"
  certificate_arn   = local.has_tls ? var.certificate : null
  ssl_policy        = local.has_tls ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : null

  tcp_idle_timeout_seconds = local.has_tls ? null : var.idle_timeout

  default_action {
    type = "forward"
    forward {
      dynamic "target_group" {
        for_each = var.fleets
        content {
          arn    = aws_lb_target_group.fleet[target_group.key].arn
          weight = target_group.value.weight
        }
      }
    }
  }
}

resource "aws_launch_template" "fleet" {
  for_each      = var.fleets
  name          = "${var.name}-${each.key}"
  image_id      = data.aws_ssm_parameter.image.insecure_value
  instance_type = var.instance_type

  vpc_security_group_ids = [aws_security_group.instances.id]

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  dynamic "iam_instance_profile" {
    for_each = var.instance_profile == "" ? [] : [var.instance_profile]
    content {
      name = iam_instance_profile.value
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.name}-${each.key}" }
  }

  user_data = base64encode(join("\n", concat(
    [
      "#!/bin/sh",
      "RELEASE_URL='${each.value.release_url}'",
      "RELEASE_SHA256='${each.value.release_sha256}'",
      "SETTINGS=$(cat <<'END-OF-SETTINGS'",
      "ELBOW_LB=nlb",
      each.value.proxy_protocol ? "ELBOW_PROXY_PROTOCOL=required" : "ELBOW_PROXY_PROTOCOL=off",
      "ELBOW_PROXY_TRUST=${join(",", var.balancer_networks)}",
      "ELBOW_HEALTH_LISTEN=0.0.0.0:3001",
      local.redis_setting,
    ],
    var.settings,
    ["", "END-OF-SETTINGS", ")", file("${path.module}/../../user-data.sh")],
  )))
}

resource "aws_autoscaling_group" "fleet" {
  for_each                  = var.fleets
  name                      = "${var.name}-${each.key}"
  min_size                  = each.value.instances
  max_size                  = each.value.instances
  desired_capacity          = each.value.instances
  vpc_zone_identifier       = var.subnets
  health_check_type         = "ELB"
  health_check_grace_period = 120
  target_group_arns         = [aws_lb_target_group.fleet[each.key].arn]

  launch_template {
    id      = aws_launch_template.fleet[each.key].id
    version = aws_launch_template.fleet[each.key].latest_version
  }
}

resource "aws_security_group" "redis" {
  count       = local.has_redis ? 1 : 0
  name        = "${var.name}-redis"
  description = "Redis of elbow, from its instances only"
  vpc_id      = var.vpc

  ingress {
    description     = "Instances"
    protocol        = "tcp"
    from_port       = 6379
    to_port         = 6379
    security_groups = [aws_security_group.instances.id]
  }
}

resource "aws_elasticache_subnet_group" "redis" {
  count      = local.has_redis ? 1 : 0
  name       = var.name
  subnet_ids = var.subnets
}

resource "aws_elasticache_replication_group" "redis" {
  count                      = local.has_redis ? 1 : 0
  replication_group_id       = var.name
  description                = "Backplane of elbow"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.redis_node_type
  num_cache_clusters         = 1
  automatic_failover_enabled = false
  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  subnet_group_name          = aws_elasticache_subnet_group.redis[0].name
  security_group_ids         = [aws_security_group.redis[0].id]
}

output "address" {
  value = aws_lb.balancer.dns_name
}

output "BALANCER" {
  value = aws_lb.balancer.arn
}

output "LISTENER" {
  value = aws_lb_listener.listener.arn
}

output "GROUP" {
  value = { for colour, group in aws_lb_target_group.fleet : colour => group.arn }
}

output "INSTANCES" {
  value = aws_security_group.instances.id
}
